"""Which version of the API a request speaks.

The path's ``/vX.Y`` decides; without it, the newest. Everything between the two ends is served by
the same code; the few differences ask ``call.version``.
"""

from __future__ import annotations

import re

from sampan.errors import InvalidArgument
from sampan.http.front import Version

_VERSIONED = re.compile(r"/v([0-9][^/]*)(/.*)")

NEWEST: Version = (1, 51)
OLDEST: Version = (1, 24)


def text(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def parse(written: str) -> Version:
    """``"1.41"`` to ``(1, 41)``.

    Raises:
        InvalidArgument: malformed, too new or too old, in the words that clients look for.
    """
    major, _, minor = written.partition(".")
    if not (major.isascii() and major.isdigit() and minor.isascii() and minor.isdigit()):
        raise InvalidArgument(
            f"invalid API version {written!r}: it is two numbers, as in /v{text(NEWEST)}/"
        )
    version = (int(major), int(minor))
    if version > NEWEST:
        raise InvalidArgument(
            f"client version {written} is too new. Maximum supported API version is {text(NEWEST)}"
        )
    if version < OLDEST:
        raise InvalidArgument(
            f"client version {written} is too old. Minimum supported API version is "
            f"{text(OLDEST)}, please upgrade your client to a newer version"
        )
    return version


class DockerVersions:
    """Docker's version rule, for ``sampan.http.front``."""

    prefix = "/v[0-9.]+"

    def split(self, path: str) -> tuple[Version, str]:
        """``/v1.41/info`` to ``((1, 41), "/info")``.

        Raises:
            InvalidArgument
        """
        if path.startswith("/v") and (match := _VERSIONED.fullmatch(path)):
            return parse(match[1]), match[2]
        return NEWEST, path
