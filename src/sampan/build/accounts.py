"""The owner that ``--chown`` names, as a root file system's own passwd and group files have it."""

from __future__ import annotations

from pathlib import Path

from sampan.errors import InvalidArgument
from sampan.runtime.users import Table, id_of


class NoSuchAccount(InvalidArgument):
    """``--chown`` names nobody in the image."""


def owner(root: str, spec: str) -> tuple[int, int]:
    """(uid, gid) of ``--chown=user[:group]``; names or numbers. Without a group it is the group
    that is called like the user (or has the user's number).

    Raises:
        NoSuchAccount
    """
    user, colon, group = spec.partition(":")
    if not colon:
        group = user
    return _number(root, "passwd", user, spec), _number(root, "group", group, spec)


def _number(root: str, table: Table, name: str, spec: str) -> int:
    if name.isdecimal():
        return int(name)
    if not name:
        return 0
    if (number := id_of(Path(root), table, name)) is not None:
        return number
    kind = "user" if table == "passwd" else "group"
    raise NoSuchAccount(
        f"unable to convert {spec} to uid/gid: no {kind} {name} in the image's /etc/{table}: "
        "create it in an earlier step or use numbers"
    )
