"""What a member keeps on disk."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sampan.cluster.node.state_dir import NodeDirectory, NodeRecord
from sampan.files import write_private


def test_a_membership_is_there_exactly_if_its_file_is(tmp_path: Path) -> None:
    home = NodeDirectory(tmp_path / "cluster")
    assert home.read() is None
    record = NodeRecord(node_id="n", cluster_id="c", phase="active", role="manager")
    home.write(record)
    assert home.read() == record
    home.clear()
    assert home.read() is None
    assert not home.directory.exists()
    home.clear()


def test_files_are_for_root_only(tmp_path: Path) -> None:
    home = NodeDirectory(tmp_path / "cluster")
    home.write(NodeRecord())
    assert (home.directory / "node.json").stat().st_mode & 0o777 == 0o600
    assert home.directory.stat().st_mode & 0o777 == 0o700


def test_a_foreign_file_is_no_membership(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("[]")
    with pytest.raises(msgspec.DecodeError):
        NodeDirectory(tmp_path).read()


def test_a_worker_keeps_nothing_of_the_manager_it_was(tmp_path: Path) -> None:
    home = NodeDirectory(tmp_path / "cluster")
    write_private(home.key, b"k")
    home.etcd.mkdir(parents=True)
    home.forget_store()
    assert home.key.exists()
    assert not home.etcd.exists()
    home.forget_manager()
    assert not home.manager.exists()
