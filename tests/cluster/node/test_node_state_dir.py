"""What a member keeps on disk."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sampan.cluster.node.state_dir import NodeDirectory, NodeRecord
from sampan.files import write_private


def test_a_membership_is_there_exactly_if_its_file_is(tmp_path: Path) -> None:
    state_dir = NodeDirectory(tmp_path / "cluster")
    assert state_dir.read() is None
    record = NodeRecord(node_id="n", cluster_id="c", phase="active", role="manager")
    state_dir.write(record)
    assert state_dir.read() == record
    state_dir.clear()
    assert state_dir.read() is None
    assert not state_dir.directory.exists()
    state_dir.clear()


def test_files_are_for_root_only(tmp_path: Path) -> None:
    state_dir = NodeDirectory(tmp_path / "cluster")
    state_dir.write(NodeRecord())
    assert (state_dir.directory / "node.json").stat().st_mode & 0o777 == 0o600
    assert state_dir.directory.stat().st_mode & 0o777 == 0o700


def test_a_foreign_file_is_no_membership(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("[]")
    with pytest.raises(msgspec.DecodeError):
        NodeDirectory(tmp_path).read()


def test_a_worker_keeps_nothing_of_the_manager_it_was(tmp_path: Path) -> None:
    state_dir = NodeDirectory(tmp_path / "cluster")
    write_private(state_dir.key, b"k")
    state_dir.etcd.mkdir(parents=True)
    state_dir.forget_store()
    assert state_dir.key.exists()
    assert not state_dir.etcd.exists()
    state_dir.forget_manager()
    assert not state_dir.manager.exists()
