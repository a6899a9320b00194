"""Mount calls on a real kernel."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sampan.kernel import mount as m


def test_mountinfo_line_is_parsed_with_its_escapes() -> None:
    line = (
        b"36 35 98:0 /a\\040b /mnt\\011x rw,noatime shared:1 master:2 "
        b"- ext3 /dev/root rw,errors=x\n"
    )
    (info,) = m.parse_mountinfo(line)
    assert (info.id, info.parent, info.root, info.target) == (36, 35, "/a b", "/mnt\tx")
    assert info.propagation == {"shared:1", "master:2"}
    assert (info.fstype, info.source) == ("ext3", "/dev/root")
    assert "errors=x" in info.super_options


def test_mountinfo_line_without_optional_fields() -> None:
    (info,) = m.parse_mountinfo(b"1 0 0:1 / / rw - tmpfs none rw\n")
    assert info.propagation == frozenset()


def test_tmpfs_is_mounted_seen_and_gone_again(tmp_path: Path) -> None:
    m.mount("tmpfs", tmp_path, "tmpfs", m.MS_NODEV, "size=64k")
    try:
        assert m.is_mounted(tmp_path)
        assert m.mount_of(tmp_path).fstype == "tmpfs"
    finally:
        m.unmount(tmp_path)
    assert not m.is_mounted(tmp_path)
    assert m.unmount_if_mounted(tmp_path) is False


def test_unmounting_what_is_not_mounted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="unmount"):
        m.unmount(tmp_path)


def test_read_only_bind_refuses_writes(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "file").write_text("x")
    m.bind(source, target, read_only=True)
    try:
        assert (target / "file").read_text() == "x"
        with pytest.raises(OSError, match="Read-only") as caught:
            (target / "other").write_text("y")
        assert caught.value.errno == errno.EROFS
    finally:
        assert m.unmount_if_mounted(target)


def test_overlay_shows_the_top_layer_first(tmp_path: Path) -> None:
    dirs = {name: tmp_path / name for name in ("low", "mid", "up", "work", "merged")}
    for directory in dirs.values():
        directory.mkdir()
    (dirs["low"] / "f").write_text("low")
    (dirs["mid"] / "f").write_text("mid")
    m.overlay(dirs["merged"], [dirs["mid"], dirs["low"]], dirs["up"], dirs["work"])
    try:
        assert (dirs["merged"] / "f").read_text() == "mid"
        (dirs["merged"] / "f").write_text("up")
        assert (dirs["up"] / "f").read_text() == "up"
    finally:
        m.unmount(dirs["merged"])


def test_unknown_file_system_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="load its module"):
        m.mount("none", tmp_path, "nosuchfs")


def test_too_many_options_are_refused_not_cut(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="fit"):
        m.mount("none", tmp_path, "tmpfs", 0, "x" * 5000)
