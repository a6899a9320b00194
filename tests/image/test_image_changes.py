"""An overlay's writable directory against the layers below it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sampan.image.changes import changes
from sampan.image.unpack import OPAQUE_XATTR


def tree(path: Path, *files: str) -> Path:
    path.mkdir()
    for name in files:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("!"):
            os.mknod(path / name[:-1], stat.S_IFCHR, 0)
        else:
            (path / name).write_text("x")
    return path


def told(upper: Path, *lower: Path, skip: tuple[str, ...] = ()) -> list[str]:
    return [f"{c.kind[0]} {c.path}" for c in changes(upper, lower, frozenset(skip))]


def test_added_modified_deleted(tmp_path: Path) -> None:
    low = tree(tmp_path / "low", "d/kept", "d/gone", "f")
    up = tree(tmp_path / "up", "d/new", "d/gone!", "f")
    assert told(up, low) == ["m /d", "d /d/gone", "a /d/new", "m /f"]


def test_a_whiteout_below_hides_what_is_deeper(tmp_path: Path) -> None:
    deep, middle = tree(tmp_path / "deep", "d/f"), tree(tmp_path / "middle", "d/f!")
    up = tree(tmp_path / "up", "d/f", "d/never!")
    assert told(up, middle, deep) == ["m /d", "a /d/f"]


def test_an_opaque_directory_deletes_the_rest(tmp_path: Path) -> None:
    low, up = tree(tmp_path / "low", "d/a", "d/b"), tree(tmp_path / "up", "d/a")
    os.setxattr(up / "d", OPAQUE_XATTR, b"y")
    assert told(up, low) == ["m /d", "m /d/a", "d /d/b"]


def test_what_only_the_runtime_made(tmp_path: Path) -> None:
    low = tree(tmp_path / "low", "etc/passwd")
    up = tree(tmp_path / "up")
    (up / "etc").mkdir()
    (up / "etc/hosts").touch()
    (up / "proc").mkdir()
    skip = ("/etc", "/etc/hosts", "/proc")
    assert told(up, low, skip=skip) == []
    assert told(up, skip=skip) == []
    (up / "etc/hosts").write_text("mine")
    assert told(up, low, skip=skip) == ["m /etc", "a /etc/hosts"]
    assert told(up, low) == ["m /etc", "a /etc/hosts", "a /proc"]
