"""What every snapshot driver promises. Subclass it with a ``snapshots`` fixture."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import AsyncIterator

import pytest

from sampan.errors import Conflict, InvalidArgument, NotFound, SampanError
from sampan.image.contract import Snapshots


async def _read(stream: AsyncIterator[bytes]) -> dict[str, tarfile.TarInfo]:
    body = b"".join([chunk async for chunk in stream])
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name: member for member in tar}


class SnapshotsContract:
    """The suite."""

    async def _layer(self, snapshots: Snapshots, parent: str = "", **files: str) -> str:
        await snapshots.prepare("maker", parent)
        root = await snapshots.mount("maker")
        for name, content in files.items():
            (root / name).write_text(content)
        chain, _ = await snapshots.commit("maker")
        return chain

    async def test_an_empty_snapshot_is_an_empty_root(self, snapshots: Snapshots) -> None:
        await snapshots.prepare("k", "")
        root = await snapshots.mount("k")
        assert list(root.iterdir()) == []
        assert stat.S_IMODE(root.stat().st_mode) == 0o755
        assert await snapshots.keys() == ["k"]

    async def test_what_was_committed_shows_in_snapshots_above(self, snapshots: Snapshots) -> None:
        chain = await self._layer(snapshots, a="1", b="2")
        await snapshots.prepare("k", chain)
        root = await snapshots.mount("k")
        assert {path.name: path.read_text() for path in root.iterdir()} == {"a": "1", "b": "2"}

    async def test_snapshots_of_one_layer_do_not_see_each_other(self, snapshots: Snapshots) -> None:
        chain = await self._layer(snapshots, a="1")
        for key in ("k1", "k2"):
            await snapshots.prepare(key, chain)
        one, two = await snapshots.mount("k1"), await snapshots.mount("k2")
        (one / "a").write_text("changed")
        (one / "new").write_text("x")
        assert (two / "a").read_text() == "1"
        assert not (two / "new").exists()

    async def test_commit_consumes_the_snapshot(self, snapshots: Snapshots) -> None:
        await snapshots.prepare("k", "")
        await snapshots.commit("k")
        assert await snapshots.keys() == []
        with pytest.raises(NotFound):
            await snapshots.mount("k")

    async def test_a_deletion_is_part_of_the_layer(self, snapshots: Snapshots) -> None:
        base = await self._layer(snapshots, keep="1", go="2")
        await snapshots.prepare("k", base)
        root = await snapshots.mount("k")
        (root / "go").unlink()
        chain, diff_id = await snapshots.commit("k")
        assert diff_id.startswith("sha256:")
        await snapshots.prepare("k2", chain)
        assert [path.name for path in (await snapshots.mount("k2")).iterdir()] == ["keep"]

    async def test_changes_are_told_by_path(self, snapshots: Snapshots) -> None:
        base = await self._layer(snapshots, keep="1", go="2", change="3")
        await snapshots.prepare("k", base)
        root = await snapshots.mount("k")
        (root / "go").unlink()
        (root / "change").write_text("longer")
        (root / "new").write_text("x")
        (root / "mountpoint").touch()
        found = await snapshots.changes("k", frozenset(("/mountpoint",)))
        assert [(change.kind, change.path) for change in found] == [
            ("modified", "/change"),
            ("deleted", "/go"),
            ("added", "/new"),
        ]

    async def test_a_layer_is_a_copy(self, snapshots: Snapshots) -> None:
        base = await self._layer(snapshots, keep="1", go="2")
        await snapshots.prepare("k", base)
        root = await snapshots.mount("k")
        (root / "go").unlink()
        (root / "new").write_text("x")
        chain, _ = await snapshots.layer("k")
        (root / "new").write_text("later")
        await snapshots.prepare("k2", chain)
        copy = await snapshots.mount("k2")
        assert {path.name: path.read_text() for path in copy.iterdir()} == {"keep": "1", "new": "x"}
        assert (root / "new").read_text() == "later"

    async def test_diff_holds_what_changed_and_whiteouts(self, snapshots: Snapshots) -> None:
        base = await self._layer(snapshots, keep="1", go="2", change="3")
        await snapshots.prepare("k", base)
        root = await snapshots.mount("k")
        (root / "go").unlink()
        (root / "change").write_text("longer")
        (root / "link").symlink_to("change")
        found = await _read(await snapshots.diff("k"))
        assert set(found) == {".wh.go", "change", "link"}
        assert found["link"].linkname == "change"

    async def test_size_counts_the_writable_part_only(self, snapshots: Snapshots) -> None:
        base = await self._layer(snapshots, big="x" * 10_000)
        await snapshots.prepare("k", base)
        root = await snapshots.mount("k")
        (root / "small").write_text("12345")
        assert await snapshots.size("k") == 5

    async def test_a_directory_made_anew_hides_the_old_one(self, snapshots: Snapshots) -> None:
        await snapshots.prepare("base", "")
        root = await snapshots.mount("base")
        (root / "d").mkdir()
        (root / "d" / "old").write_text("1")
        base, _ = await snapshots.commit("base")
        await snapshots.prepare("k", base)
        root = await snapshots.mount("k")
        (root / "d" / "old").unlink()
        (root / "d").rmdir()
        (root / "d").mkdir()
        (root / "d" / "new").write_text("2")
        chain, _ = await snapshots.commit("k")
        await snapshots.prepare("k2", chain)
        root = await snapshots.mount("k2")
        assert os.listdir(root / "d") == ["new"]

    async def test_mount_unmount_and_remove_are_idempotent(self, snapshots: Snapshots) -> None:
        await snapshots.prepare("k", "")
        assert await snapshots.mount("k") == await snapshots.mount("k")
        await snapshots.unmount("k")
        await snapshots.unmount("k")
        await snapshots.remove("k")
        await snapshots.remove("k")
        assert await snapshots.keys() == []

    async def test_what_was_written_stays_over_an_unmount(self, snapshots: Snapshots) -> None:
        await snapshots.prepare("k", "")
        (await snapshots.mount("k") / "a").write_text("1")
        await snapshots.unmount("k")
        assert (await snapshots.mount("k") / "a").read_text() == "1"

    async def test_a_key_is_there_once(self, snapshots: Snapshots) -> None:
        await snapshots.prepare("k", "")
        with pytest.raises(Conflict):
            await snapshots.prepare("k", "")

    async def test_unknown_keys_and_chains(self, snapshots: Snapshots) -> None:
        with pytest.raises(NotFound):
            await snapshots.mount("nobody")
        with pytest.raises(NotFound):
            await snapshots.size("nobody")
        with pytest.raises(NotFound):
            await snapshots.diff("nobody")
        with pytest.raises(SampanError):
            await snapshots.prepare("k", "sha256:" + "0" * 64)
        assert await snapshots.keys() == []

    @pytest.mark.parametrize("key", ["", "..", "a/b", "/etc"])
    async def test_a_key_is_no_path(self, snapshots: Snapshots, key: str) -> None:
        with pytest.raises(InvalidArgument):
            await snapshots.prepare(key, "")
