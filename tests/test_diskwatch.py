"""What the loop's thread does beneath the data root is told with its stack."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.aio import in_thread
from sampan.diskwatch import off_the_disk


def opens(root: Path) -> None:
    (root / "file").read_bytes()


def makes(root: Path) -> None:
    (root / "made").mkdir()


def makes_by_descriptor(root: Path) -> None:
    directory = os.open(root, os.O_PATH)
    try:
        os.mkdir("made", dir_fd=directory)
    finally:
        os.close(directory)


def lists(root: Path) -> None:
    os.listdir(root)


def moves(root: Path) -> None:
    (root / "file").rename(root / "moved")


def removes(root: Path) -> None:
    (root / "file").unlink()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").touch()
    (tmp_path / "file").touch()
    return root


@pytest.fixture
def told(root: Path) -> Iterator[list[str]]:
    reports: list[str] = []
    with off_the_disk(root, reports.append):
        yield reports


@pytest.mark.parametrize("work", [opens, makes, makes_by_descriptor, lists, moves, removes])
def test_what_goes_to_the_disk_is_told(
    root: Path, told: list[str], work: Callable[[Path], None]
) -> None:
    work(root)
    (report,) = told
    assert work.__name__ in report
    assert str(root) in report


def test_a_place_is_told_once(root: Path, told: list[str]) -> None:
    for _ in range(3):
        lists(root)
    assert len(told) == 1


@pytest.mark.parametrize("work", [opens, makes, makes_by_descriptor, lists, moves, removes])
async def test_a_thread_may(root: Path, told: list[str], work: Callable[[Path], None]) -> None:
    await in_thread(work, root)
    assert not told


@pytest.mark.parametrize("work", [opens, makes, makes_by_descriptor, lists, moves, removes])
def test_other_directories_do_not_matter(
    root: Path, told: list[str], work: Callable[[Path], None]
) -> None:
    work(root.parent)
    assert not told
