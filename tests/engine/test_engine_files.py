"""Tars in and out of a directory tree, and the parsers behind ``stats``: no daemon needed."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from sampan.engine.files.archive_in import ExtractOptions, Extractor, PathConflict
from sampan.engine.files.archive_out import archive_all, archive_out, describe
from sampan.engine.observe.stats import parse_interfaces, parse_system
from sampan.image.tar import BadTar, ByteSource


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("inside")
    (root / "abs").symlink_to("/etc")
    (root / "out").symlink_to("../../..")
    return root


def packed(*members: tuple[str, bytes, str]) -> ByteSource:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind, text in members:
            info = tarfile.TarInfo(name)
            info.type, info.uid, info.gid, info.mtime = kind, 7, 8, 1000
            if kind == tarfile.REGTYPE:
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
            else:
                info.linkname, info.mode = text, 0o750
                archive.addfile(info)
    return ByteSource(iter([out.getvalue()]))


def put(
    root: Path, base: str, *members: tuple[str, bytes, str], how: ExtractOptions | None = None
) -> None:
    Extractor(packed(*members), base, how or ExtractOptions(), root).run()


def names(root: Path, path: str) -> list[str]:
    body = b"".join(archive_out(root, path))
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        return archive.getnames()


def test_members_land_where_links_lead_inside(root: Path) -> None:
    put(root, "/abs", ("new", tarfile.REGTYPE, "x"), ("d/e/f", tarfile.REGTYPE, "y"))
    put(root, "/", ("abs/other", tarfile.REGTYPE, "z"), ("out/etc/top", tarfile.REGTYPE, "t"))
    assert sorted(p.name for p in (root / "etc").iterdir()) == [
        "d",
        "new",
        "other",
        "passwd",
        "top",
    ]
    assert (root / "etc/d/e/f").read_text() == "y"


def test_owner_mode_and_time(root: Path) -> None:
    put(root, "/", ("d", tarfile.DIRTYPE, ""), ("d/f", tarfile.REGTYPE, "x"))
    found = (root / "d").stat()
    assert (found.st_uid, found.st_gid, found.st_mtime) == (7, 8, 1000)
    assert found.st_mode & 0o777 == 0o750
    put(root, "/", ("g", tarfile.REGTYPE, "x"), how=ExtractOptions(owner=(3, 4)))
    assert ((root / "g").stat().st_uid, (root / "g").stat().st_gid) == (3, 4)


@pytest.mark.parametrize("name", ["../x", "a/../../x", ".."])
def test_a_name_that_climbs(root: Path, name: str) -> None:
    with pytest.raises(BadTar):
        put(root, "/etc", (name, tarfile.REGTYPE, "x"))


def test_a_hard_link_stays_below(root: Path) -> None:
    put(root, "/etc", ("twin", tarfile.LNKTYPE, "passwd"))
    assert (root / "etc/twin").samefile(root / "etc/passwd")
    with pytest.raises(BadTar):
        put(root, "/etc", ("twin", tarfile.LNKTYPE, "../../passwd"))
    with pytest.raises(BadTar):
        put(root, "/etc", ("twin", tarfile.LNKTYPE, "nothing"))


def test_kinds(root: Path) -> None:
    keep = ExtractOptions(keep_kinds=True)
    with pytest.raises(PathConflict):
        put(root, "/", ("etc", tarfile.REGTYPE, "x"), how=keep)
    with pytest.raises(PathConflict):
        put(root, "/etc", ("passwd", tarfile.DIRTYPE, ""), how=keep)
    put(root, "/", ("etc", tarfile.REGTYPE, "x"))
    assert (root / "etc").read_text() == "x"


def test_names_begin_with_the_last_component(root: Path) -> None:
    assert names(root, "/etc") == ["etc", "etc/passwd"]
    assert names(root, "/etc/.") == [".", "./passwd"], "what is in it, under whatever name"
    assert names(root, "/abs/") == ["abs", "abs/passwd"]
    assert names(root, "/abs") == ["abs"]
    with pytest.raises(FileNotFoundError):
        names(root, "/nope")


def test_links_are_described_with_their_end(root: Path) -> None:
    assert describe(root, "/abs")["link_target"] == "/etc"
    assert describe(root, "/out")["link_target"] == "/"
    assert describe(root, "/abs/passwd")["name"] == "passwd"
    assert describe(root, "/")["name"] == "/"


def test_hard_links_are_told_once(root: Path) -> None:
    os.link(root / "etc/passwd", root / "etc/same")
    body = b"".join(archive_all(root))
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        found = {member.name: member for member in archive}
    assert found["etc/same"].islnk()
    assert found["etc/same"].linkname == "etc/passwd"


def test_interfaces() -> None:
    text = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo:     100       1    0    0    0     0          0         0      100       1    0    0
  eth0:    1572      14    1    2    0     0          0         0       90       3    4    5
"""
    (only,) = parse_interfaces(text)
    assert (only.name, only.received, only.sent) == ("eth0", (1572, 14, 1, 2), (90, 3, 4, 5))


def test_system_time_leaves_guests_out() -> None:
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert parse_system("cpu  1 2 3 4 5 6 7 8 100 100") == 36 * tick
