"""Registry logins as services carry them: the API's ``X-Registry-Auth``, base64 of JSON."""

from __future__ import annotations

import base64
import binascii

import msgspec

from sampan.errors import InvalidArgument
from sampan.image.contract import Credentials


class _Login(msgspec.Struct):
    username: str | None = None
    password: str | None = None
    auth: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


def decode(text: str) -> Credentials | None:
    """None when it says nothing.

    Raises:
        InvalidArgument: it is something else.
    """
    if not text:
        return None
    try:
        found = msgspec.json.decode(_plain(text) or b"{}", type=_Login)
        username, password = found.username or "", found.password or ""
        if found.auth and not username:
            username, _, password = _plain(found.auth).decode(errors="replace").partition(":")
    except (binascii.Error, msgspec.DecodeError, ValueError) as error:
        raise InvalidArgument(f"the service's registry login makes no sense: {error}") from error
    if not (username or found.identitytoken or found.registrytoken):
        return None
    return Credentials(
        username=username,
        password=password,
        identity_token=found.identitytoken or "",
        registry_token=found.registrytoken or "",
    )


def _plain(text: str) -> bytes:
    plain = text.strip().replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
