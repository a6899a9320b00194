"""Files that are replaced as a whole."""

from __future__ import annotations

from pathlib import Path

from sampan.files import write_private


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_private(path, b"one")
    write_private(path, b"2")
    assert path.read_bytes() == b"2"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    path.parent.mkdir()
    path.write_bytes(b"readable")
    write_private(path, b"x" * 3_000_000)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.stat().st_size == 3_000_000
