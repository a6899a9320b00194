"""Databases of older schemas, as they were written: brought to this one's, or left as they were."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sampan.errors import Internal
from sampan.store.database import open_store
from sampan.store.migrations import MIGRATIONS, Document, Documents
from sampan.store.records import ImageTag, Phase, Volume
from sampan.store.tables import declared
from sampan.testing.contracts.store import volume

RECORDED = Path(__file__).with_name("recorded")


def recorded(path: Path, name: str = "schema_1") -> Path:
    raw = sqlite3.connect(path)
    raw.executescript((RECORDED / f"{name}.sql").read_text())
    raw.close()
    return path


def dump(path: Path) -> tuple[int, list[str]]:
    raw = sqlite3.connect(path)
    try:
        return raw.execute("PRAGMA user_version").fetchone()[0], list(raw.iterdump())
    finally:
        raw.close()


def test_the_first_schema_is_read(tmp_path: Path) -> None:
    store = open_store(recorded(tmp_path / "sampan.db"))
    (boat,) = store.containers.values()
    assert boat.run is not None
    assert (boat.name, boat.run.phase, boat.run.exit_code) == ("boat", Phase.STOPPED, 7)
    assert store.volumes["data"].labels == {"a": "b"}
    assert store.images["sha256:1"].config == b'{"a": 1}\x00'
    store.transact(lambda tx: tx.volumes.put(volume("new")))
    store.close()
    assert dump(tmp_path / "sampan.db")[0] == len(MIGRATIONS)


def renamed(documents: Documents) -> None:
    """A volume's ``directory`` becomes its ``mountpoint``."""

    def change(document: Document) -> Document:
        document["mountpoint"] = document.pop("directory")
        return document

    documents.change("volumes", change)


def split(documents: Documents) -> None:
    """A tag's ``image``, "sha256:... (cluster)", becomes ``image_id`` and ``from_cluster``; and its
    key, which had no registry, gets one."""
    for key, document in documents.all("image_tags"):
        image_id, _, origin = document.pop("image").partition(" ")
        name = f"docker.io/{key}"
        new = {"name": name, "image_id": image_id, "from_cluster": origin == "(cluster)"}
        documents.delete("image_tags", key)
        documents.put("image_tags", name, new)


def test_a_renamed_and_a_split_field(tmp_path: Path) -> None:
    path = recorded(tmp_path / "sampan.db", "renamed_and_split")
    store = open_store(path, migrations=(*MIGRATIONS, renamed, split))
    assert dict(store.volumes) == {
        "data": Volume(name="data", driver="local", created_at=1.0, mountpoint="/v/data/_data")
    }
    assert dict(store.image_tags) == {
        name: ImageTag(name=name, image_id="sha256:1", from_cluster=cluster)
        for name, cluster in (
            ("docker.io/library/busybox:latest", False),
            ("docker.io/library/redis:7", True),
        )
    }
    store.close()
    assert dump(path)[0] == len(MIGRATIONS) + 2


def test_what_is_only_in_the_log_is_migrated_too(tmp_path: Path) -> None:
    path = recorded(tmp_path / "sampan.db", "renamed_and_split")
    store = open_store(path, migrations=(*MIGRATIONS, renamed, split))
    before = store.committed
    store.transact(lambda tx: tx.volumes.put(volume("late", "/old/late")))
    assert store.committed == before + 1
    log = {one: one.read_bytes() for one in tmp_path.glob("*.redo-*")}
    file = path.read_bytes()
    wal = path.with_name("sampan.db-wal").read_bytes()
    store.close()
    # as a kill leaves it
    path.write_bytes(file)
    path.with_name("sampan.db-wal").write_bytes(wal)
    for one, content in log.items():
        one.write_bytes(content)

    def move(documents: Documents) -> None:
        documents.change(
            "volumes", lambda d: {**d, "mountpoint": d["mountpoint"].replace("/old/", "/new/")}
        )

    store = open_store(path, migrations=(*MIGRATIONS, renamed, split, move))
    assert store.volumes["late"].mountpoint == "/new/late"
    assert not [one for one in log if one.exists()]
    store.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = recorded(tmp_path / "sampan.db", "renamed_and_split")
    before = dump(path)

    def broken(documents: Documents) -> None:
        documents.delete("volumes", "data")
        raise KeyError("image")

    with pytest.raises(Internal, match="as it was"):
        open_store(path, migrations=(*MIGRATIONS, renamed, split, broken))
    assert dump(path) == before
    store = open_store(path, migrations=(*MIGRATIONS, renamed, split))
    assert set(store.volumes) == {"data"}
    store.close()


def test_a_kind_that_an_older_file_does_not_have_needs_no_step(tmp_path: Path) -> None:
    path = recorded(tmp_path / "sampan.db")
    raw = sqlite3.connect(path)
    for table in ("build_cache", "networks"):
        raw.execute(f"DROP TABLE {table}")
    raw.close()
    store = open_store(path)
    assert not store.networks
    assert len(store.containers) == 1
    store.close()
    tables = {line.split('"')[1] for line in dump(path)[1] if line.startswith('INSERT INTO "')}
    assert tables == {"containers", "image_tags", "images", "redo_log", "volumes"}
    raw = sqlite3.connect(path)
    made = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    raw.close()
    assert made == {table.name for table in declared()} | {"redo_log"}
