"""Who a container's process is: ``--user`` against the image's own passwd and group files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sampan.errors import InvalidArgument
from sampan.kernel.inroot import read_in
from sampan.runtime.contract import NoSuchUser

MAX_ID = (1 << 31) - 1
_DIGITS = 20
"""More than any number in range has."""
Table = Literal["passwd", "group"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Numeric ids of a process, and the home directory that goes with them."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    """Supplementary groups."""
    home: str


def resolve(rootfs: Path, user: str, group_add: Sequence[str] = ()) -> Identity:
    """The ids that ``user`` ("", "name", "uid", "name:group", "uid:gid") means in ``rootfs``.

    A number needs no entry in passwd; a name does. A number is never a name: an image whose passwd
    has a line "1000:x:0:0" would make root of who asked for 1000 (CVE-2016-3697). With a group
    given, the user's own supplementary groups do not count (as with Docker).

    Raises:
        NoSuchUser: the files name no such user or group.
        InvalidArgument: a number out of range.
    """
    passwd = read_in(rootfs, "/etc/passwd") or b""
    groups = _Groups(rootfs)
    who, colon, group = user.partition(":")
    who = who or "0"
    if _is_number(who):
        _checked(who)
    entry = _passwd_entry(passwd, who)
    if entry is None and not _is_number(who):
        raise NoSuchUser(f"unable to find user {who}: no matching entries in passwd file")
    uid = entry.uid if entry else int(who)
    gid = entry.gid if entry else 0
    own: list[int] = []
    if colon and group:
        gid = groups.find(group)
    elif entry is not None:
        own = groups.of_member(entry.name)
    # The primary group is in the list too: else a process that drops it would gain what the
    # group is denied (CVE-2022-36109).
    supplementary = [gid, *own, *(groups.find(extra) for extra in group_add)]
    home = entry.home if entry and entry.home else "/"
    return Identity(uid, gid, tuple(dict.fromkeys(supplementary)), home)


def home_of(rootfs: Path, user: str) -> str:
    """HOME for ``user`` ("/" when passwd does not say).

    Raises:
        NoSuchUser: a name that passwd does not have.
    """
    return resolve(rootfs, user).home


def id_of(rootfs: Path, table: Table, name: str) -> int | None:
    """The number that ``name`` has in /etc/passwd or /etc/group; None when it is not there, or is a
    number itself."""
    if _is_number(name):
        return None
    for fields in _lines(read_in(rootfs, f"/etc/{table}") or b""):
        if len(fields) > 2 and fields[0] == name and _is_number(fields[2]):
            return int(fields[2])
    return None


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    uid: int
    gid: int
    home: str


def _passwd_entry(passwd: bytes, who: str) -> _Entry | None:
    """The first line whose number, or else whose name, is ``who``."""
    number = int(who) if _is_number(who) else None
    for fields in _lines(passwd):
        if len(fields) < 4 or not all(_is_number(field) for field in fields[2:4]):
            continue
        if len(fields[2]) > _DIGITS:
            continue  # nobody's: beyond every range, and slow to read
        home = fields[5] if len(fields) > 5 else ""
        if fields[0] == who if number is None else int(fields[2]) == number:
            return _Entry(fields[0], _checked(fields[2]), _checked(fields[3]), home)
    return None


class _Groups:
    """/etc/group, read when the first question comes."""

    def __init__(self, rootfs: Path) -> None:
        self._rootfs = rootfs
        self._rows: list[list[str]] | None = None

    def rows(self) -> list[list[str]]:
        if self._rows is None:
            content = read_in(self._rootfs, "/etc/group") or b""
            self._rows = [f for f in _lines(content) if len(f) > 2 and _is_number(f[2])]
        return self._rows

    def find(self, group: str) -> int:
        if _is_number(group):
            return _checked(group)
        for fields in self.rows():
            if fields[0] == group:
                return _checked(fields[2])
        raise NoSuchUser(f"unable to find group {group}: no matching entries in group file")

    def of_member(self, name: str) -> list[int]:
        return [
            int(fields[2])
            for fields in self.rows()
            if len(fields) > 3 and name in fields[3].split(",")
        ]


def _is_number(text: str) -> bool:
    """Of digits alone; Python's ``isdigit`` takes those of every script."""
    return text.isascii() and text.isdigit()


def _checked(number: str) -> int:
    if len(number) > _DIGITS or int(number) > MAX_ID:
        raise InvalidArgument(f"uids and gids must be in range 0-{MAX_ID}: {number[:40]}")
    return int(number)


def _lines(content: bytes) -> Iterator[list[str]]:
    for line in content.decode("utf-8", "replace").splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            yield line.split(":")
