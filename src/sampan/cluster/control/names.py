"""What names may look like."""

from __future__ import annotations

import re

from sampan.cluster.errors import Refused

NAME_LIMIT = 63
"""Characters of a service's or network's name: it is a label of the DNS."""
DATA_NAME_LIMIT = 64

_DNS = re.compile(r"[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*", re.ASCII)
_DATA = re.compile(r"[a-zA-Z0-9]+(?:[a-zA-Z0-9\-_.]*[a-zA-Z0-9])?", re.ASCII)


def check_dns_name(name: str) -> None:
    """Of services and networks.

    Raises:
        Refused.
    """
    if not name:
        raise Refused("meta: name must be provided")
    if not _DNS.fullmatch(name):
        raise Refused("name must be valid as a DNS name component")
    if len(name) > NAME_LIMIT:
        raise Refused(f"name must be {NAME_LIMIT} characters or fewer")


def check_data_name(name: str) -> None:
    """Of secrets and configs.

    Raises:
        Refused.
    """
    if len(name) > DATA_NAME_LIMIT or not _DATA.fullmatch(name):
        raise Refused(
            f"invalid name, only {DATA_NAME_LIMIT} [a-zA-Z0-9-_.] characters allowed, and the "
            "start and end character must be [a-zA-Z0-9]"
        )
