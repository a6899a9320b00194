"""Users and groups as a root file system's own /etc/passwd and /etc/group name them."""

from __future__ import annotations

from sampan.build.scoped import read_text
from sampan.errors import InvalidArgument


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


def home(root: str, spec: str) -> str:
    """The home directory of ``USER``'s user; "/" when there is no such entry."""
    user = spec.partition(":")[0] or "0"
    column = 2 if user.isdecimal() else 0
    for line in read_text(root, "/etc/passwd").splitlines():
        fields = line.split(":")
        if len(fields) >= 6 and fields[column] == user:
            return fields[5] or "/"
    return "/root" if user in ("0", "root") else "/"


def _number(root: str, table: str, name: str, spec: str) -> int:
    if name.isdecimal():
        return int(name)
    if not name:
        return 0
    for line in read_text(root, f"/etc/{table}").splitlines():
        fields = line.split(":")
        if len(fields) >= 3 and fields[0] == name and fields[2].isdecimal():
            return int(fields[2])
    kind = "user" if table == "passwd" else "group"
    raise NoSuchAccount(
        f"unable to convert {spec} to uid/gid: no {kind} {name} in the image's /etc/{table}: "
        "create it in an earlier step or use numbers"
    )
