"""What the snapshot drivers share: keys, the records on disk, sizes and tars.

    snapshots/<key>/parent     the chain ID below; written first, renamed into place with the rest
    snapshots/<key>/diff       the writable directory      (vfs: the whole tree)
    snapshots/<key>/work       overlayfs's own             (overlay only)
    snapshots/<key>/merged     where it is mounted         (overlay only)

The directory itself is the record: there is no row to disagree with it. It appears by rename
under its key, complete, and it goes by rename into ``tmp/``. Nothing is fsynced: the container's
row is committed after it, and on a journalling file system that commit carries earlier renames.
"""

from __future__ import annotations

import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sampan.aio import in_thread
from sampan.config import Paths
from sampan.errors import Conflict, InvalidArgument, NotFound
from sampan.image.changes import changes
from sampan.image.contract import Change
from sampan.image.deferred_delete import DeferredDelete, discard
from sampan.image.layers import LayerStore
from sampan.image.pack import usage
from sampan.image.workers import WorkerPool
from sampan.kernel.mount import unmount_if_mounted

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)


class NoSuchSnapshot(NotFound):
    def __init__(self, key: str) -> None:
        super().__init__(f"No such snapshot: {key}")
        self.key = key


class SnapshotDriver(ABC):
    """The ``Snapshots`` protocol, less what differs between drivers."""

    name: str

    def __init__(
        self, paths: Paths, layers: LayerStore, pool: WorkerPool, trash: DeferredDelete
    ) -> None:
        self._paths = paths
        self._layers = layers
        self._pool = pool
        self._deferred = trash
        self._parents: dict[str, str] = {}

    @property
    def driver(self) -> str:
        return self.name

    async def open(self) -> None:
        """Read the records at start, and drop what was half made."""
        self._parents = await in_thread(self._read_parents)

    def _read_parents(self) -> dict[str, str]:
        found = {}
        for name in os.listdir(self._paths.snapshots):
            home = self._paths.snapshots / name
            parent = home / "parent"
            if _KEY.fullmatch(name) and parent.is_file():
                found[name] = parent.read_text()
            else:
                unmount_if_mounted(home / "merged", lazy=True)
                discard(home)
        return found

    def parents(self) -> set[str]:
        """The chain IDs that snapshots stand on."""
        return set(self._parents.values()) - {""}

    def parent(self, key: str) -> str:
        """Raises NoSuchSnapshot."""
        try:
            return self._parents[key]
        except KeyError:
            raise NoSuchSnapshot(key) from None

    def home(self, key: str) -> Path:
        return self._paths.snapshots / key

    async def prepare(self, key: str, chain_id: str) -> None:
        if not _KEY.fullmatch(key):
            raise InvalidArgument(f"invalid snapshot key {key!r}")
        if key in self._parents:
            raise Conflict(f"snapshot {key} exists already")
        self._layers.stack(chain_id)
        # From here on it counts as a user of its layers, also while it is being made.
        self._parents[key] = chain_id
        scratch = self._paths.tmp / f"snapshot-{secrets.token_hex(8)}"
        try:
            await in_thread(self._make, scratch, chain_id, self.home(key))
        except BaseException:
            del self._parents[key]
            await in_thread(discard, scratch)
            await in_thread(discard, self.home(key))
            raise

    def _make(self, scratch: Path, chain_id: str, home: Path) -> None:
        scratch.mkdir()
        (scratch / "parent").write_text(chain_id)
        self._fill(scratch, chain_id)
        scratch.rename(home)

    @abstractmethod
    def _fill(self, scratch: Path, chain_id: str) -> None:
        """Make what stands beside ``parent``. Runs in a thread."""

    @abstractmethod
    async def mount(self, key: str) -> Path: ...

    @abstractmethod
    async def unmount(self, key: str) -> None: ...

    @abstractmethod
    async def commit(self, key: str, *, comment: str = "") -> tuple[str, str]: ...

    @abstractmethod
    async def diff(self, key: str) -> AsyncIterator[bytes]: ...

    @asynccontextmanager
    async def _written(self, key: str) -> AsyncIterator[Path]:
        """The overlay directory that says what was written."""
        self.parent(key)
        yield self.home(key) / "diff"

    async def changes(self, key: str, skip: frozenset[str] = frozenset()) -> list[Change]:
        lower = self._layers.directories(self.parent(key))
        async with self._written(key) as upper:
            return await in_thread(changes, upper, lower, skip)

    async def layer(self, key: str, skip: frozenset[str] = frozenset()) -> tuple[str, str]:
        parent = self.parent(key)
        with self._layers.hold([parent]):
            async with self._written(key) as upper:
                tar = self._layers.outgoing.pack_stream(upper, skip)
                layer = await self._layers.unpack(tar, parent=parent)
        return layer.chain_id, layer.diff_id

    async def remove(self, key: str) -> None:
        if key not in self._parents:
            return
        trash = self._paths.tmp / f"snapshot-{secrets.token_hex(8)}"
        await in_thread(self._take_away, self.home(key), trash)
        self._parents.pop(key, None)
        self._deferred.put(trash)

    def _take_away(self, home: Path, trash: Path) -> None:
        # Lazily: a process that still looks at it keeps its view, and cannot keep the snapshot.
        unmount_if_mounted(home / "merged", lazy=True)
        if home.exists():
            home.rename(trash)

    async def size(self, key: str) -> int:
        self.parent(key)
        return await in_thread(usage, str(self.home(key) / "diff"))

    async def keys(self) -> list[str]:
        return sorted(self._parents)
