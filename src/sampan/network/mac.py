"""MAC addresses as users write them."""

from __future__ import annotations

import re

from sampan.errors import InvalidArgument

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


def checked_mac(wanted: str) -> str:
    """``wanted`` in lower case, with colons.

    Raises:
        InvalidArgument: it is none, or that of a group and not of one interface.
    """
    mac = wanted.lower().replace("-", ":")
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
        raise InvalidArgument(
            f"invalid MAC address: {wanted}: write one interface's, as in 02:42:ac:11:00:02"
        )
    return mac
