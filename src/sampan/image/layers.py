"""The layers on disk, and who still needs them.

    layers/<cache id>/diff      the directory that overlayfs stacks
    layers/<cache id>/recipe    what makes its tar again (see tar_split.py)

A row says: the chain so-and-so has this diff ID on top, and its directory is so-and-so. A
directory does not depend on what is below it, so every chain with the same diff ID shares one.

Order: unpack into ``tmp/``, rename into ``layers/``, then the row. Killed anywhere before the row,
what is left is debris without a row, and ``sweep`` takes it at the next start.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from pathlib import Path

from sampan.aio import in_thread, shielded
from sampan.config import Paths
from sampan.errors import Exhausted
from sampan.image.config import chain_ids
from sampan.image.contract import BadLayer
from sampan.image.deferred_delete import DISCARD_S, DeferredDelete, discard
from sampan.image.tar_split import tar_bytes
from sampan.image.worker import pack_to_tar_split
from sampan.image.workers import FileSlice, Packed, Unpacked, WorkerPool
from sampan.kernel.files import syncfs
from sampan.store.contract import Store, Transaction
from sampan.store.records import Layer

log = logging.getLogger(__name__)

PUBLISH_S = 60.0
"""How long a rename may take, or to take it back."""
SMALL_LAYER = 64
"""A layer of at most so many entries is packed in a thread: a worker's hand-over costs more."""


class LayerStore:
    """Makes, finds and removes layers. One a daemon; used on the loop only."""

    def __init__(
        self,
        paths: Paths,
        store: Store,
        pool: WorkerPool,
        trash: DeferredDelete,
        *,
        outgoing: WorkerPool | None = None,
    ) -> None:
        self._paths = paths
        self._store = store
        self._pool = pool
        # Whoever takes a layer sets the pace: a slow one must not keep a pull or a build waiting.
        self.outgoing = outgoing or pool
        """Workers that read layers and write none. Whoever unpacks what another worker packs takes
        that one from here: out of one pool, each could wait for a turn that the others hold."""
        self._deferred = trash
        self._held: Counter[str] = Counter()

    # -- finding

    def get(self, chain_id: str) -> Layer | None:
        """The layer on top of the chain, if it is here."""
        return self._store.layers.get(chain_id)

    def total_size(self) -> int:
        """Bytes of all layers, each once."""
        return sum(layer.size for layer in self._store.layers.values())

    def complete(self, chain_id: str) -> bool:
        """Is every layer of the chain here?"""
        while chain_id:
            layer = self._store.layers.get(chain_id)
            if layer is None:
                return False
            chain_id = layer.parent
        return True

    def stack(self, chain_id: str) -> list[Layer]:
        """The chain's layers, topmost first.

        Raises:
            BadLayer: one is missing.
        """
        found = []
        while chain_id:
            layer = self._store.layers.get(chain_id)
            if layer is None:
                raise BadLayer(f"layer {chain_id} is not on this host: pull its image again")
            found.append(layer)
            chain_id = layer.parent
        return found

    def directories(self, chain_id: str) -> list[Path]:
        """The directories to stack, topmost first; each once.

        overlayfs refuses a directory twice. The lower of two equal ones changes nothing: all it
        says the upper one says again, later.
        """
        unique = dict.fromkeys(layer.cache_id for layer in self.stack(chain_id))
        return [self.directory(cache_id) for cache_id in unique]

    def directory(self, cache_id: str) -> Path:
        return self._paths.layers / cache_id / "diff"

    def tar_split(self, cache_id: str) -> Path:
        return self._paths.layers / cache_id / "recipe"

    async def tar(self, layer: Layer) -> AsyncGenerator[bytes, None]:
        """The layer's tar, exactly as its diff ID says. Close it where it is left early."""
        stream = self.outgoing.assemble(
            self.directory(layer.cache_id), self.tar_split(layer.cache_id), layer.diff_id
        )
        async with aclosing(stream):
            async for chunk in stream:
                yield chunk

    def tar_bytes(self, layer: Layer) -> int:
        """Length of ``tar``. Blocks."""
        return tar_bytes(str(self.tar_split(layer.cache_id)))

    # -- making

    @contextmanager
    def hold(self, chains: Iterable[str]) -> Iterator[None]:
        """Keep these chains from ``collect`` while something that needs them is being made."""
        held = list(chains)
        self._held.update(held)
        try:
            yield
        finally:
            self._held.subtract(held)
            self._held += Counter()

    async def unpack(
        self,
        data: AsyncIterator[bytes] | FileSlice,
        *,
        parent: str = "",
        digest: str = "",
        diff_id: str = "",
    ) -> Layer:
        """Unpack a tar as the layer over ``parent``.

        Args:
            digest, diff_id: what it must turn out to be, when known.

        Raises:
            BadLayer: it is something else, or no tar. Exhausted: the disk is full. Nothing is
                left of it in either case.
        """
        scratch = await in_thread(self._scratch)
        try:
            found = await self._unpack_into(scratch, data)
            if digest and found.digest != digest:
                raise BadLayer(
                    f"filesystem layer verification failed for digest {digest}: the registry "
                    f"sent {found.digest}"
                )
            if diff_id and found.diff_id != diff_id:
                raise BadLayer(
                    f"layer {digest or diff_id} does not match its image config: it is "
                    f"{found.diff_id}, the config says {diff_id}"
                )
            blob = found.digest if digest else ""
            return await self._publish(scratch, found.diff_id, parent, found.size, blob)
        finally:
            await shielded(in_thread(discard, scratch), deadline_s=DISCARD_S)

    async def _unpack_into(self, scratch: Path, data: AsyncIterator[bytes] | FileSlice) -> Unpacked:
        try:
            return await self._pool.unpack(scratch / "diff", scratch / "recipe", data)
        except Exhausted as error:
            raise self._full(scratch) from error

    def _full(self, scratch: Path) -> Exhausted:
        free = os.statvfs(self._paths.root)
        return Exhausted(
            f"no space left on device: unpacking a layer in {scratch.parent} filled the disk "
            f"({free.f_bavail * free.f_frsize >> 20} MiB and {free.f_favail} inodes are free, not "
            f"counting what it had written): free some space under {self._paths.root}, for "
            "instance with 'docker system prune', and try again"
        )

    async def adopt(self, upper: Path, parent: str) -> Layer:
        """Make the overlay directory ``upper`` (which is consumed) the layer over ``parent``."""
        scratch = await in_thread(self._scratch)
        try:
            if await in_thread(_is_small, upper):
                raw = await in_thread(pack_to_tar_split, str(upper), str(scratch / "recipe"))
                packed = Packed(**raw)
            else:
                packed = await self._pool.pack(upper, scratch / "recipe")
            await in_thread(_replace_directory, upper, scratch / "diff")
            return await self._publish(scratch, packed.diff_id, parent, packed.size, "")
        finally:
            await shielded(in_thread(discard, scratch), deadline_s=DISCARD_S)

    def alias(self, known: Layer, parent: str) -> Layer:
        """The layer ``known`` over another parent: a row, no new directory."""
        return self._put(known.diff_id, parent, known.size, known.blob_digest, known.cache_id)

    def by_diff_id(self, diff_id: str) -> Layer | None:
        """Any layer with this diff ID, whatever it stands on."""
        for layer in self._store.layers.values():
            if layer.diff_id == diff_id:
                return layer
        return None

    def _scratch(self) -> Path:
        scratch = self._paths.tmp / f"layer-{secrets.token_hex(8)}"
        (scratch / "diff").mkdir(parents=True)
        # The tar may say nothing of its root; a container's users must be able to enter it.
        (scratch / "diff").chmod(0o755)
        return scratch

    async def _publish(
        self, scratch: Path, diff_id: str, parent: str, size: int, blob: str
    ) -> Layer:
        if (known := self.by_diff_id(diff_id)) is not None:
            return self.alias(known, parent)
        await in_thread(syncfs, scratch)
        # Another one with the same diff ID may have come in meanwhile.
        if (known := self.by_diff_id(diff_id)) is not None:
            return self.alias(known, parent)
        cache_id = secrets.token_hex(6)
        place = self._paths.layers / cache_id
        try:
            # To its end: nothing is moved under the one who takes it away again.
            await shielded(in_thread(os.rename, scratch, place), deadline_s=PUBLISH_S)
            if (known := self.by_diff_id(diff_id)) is None:
                return self._put(diff_id, parent, size, blob, cache_id)
        except BaseException:
            await shielded(in_thread(discard, place), deadline_s=PUBLISH_S)
            raise
        await shielded(in_thread(discard, place), deadline_s=DISCARD_S)
        return self.alias(known, parent)

    def _put(self, diff_id: str, parent: str, size: int, blob: str, cache_id: str) -> Layer:
        chain = chain_ids([parent, diff_id])[-1] if parent else diff_id
        if (known := self._store.layers.get(chain)) is not None:
            return known
        layer = Layer(
            chain_id=chain,
            diff_id=diff_id,
            parent=parent,
            size=size,
            blob_digest=blob,
            cache_id=cache_id,
        )
        self._store.transact(lambda tx: tx.layers.put(layer))
        return layer

    # -- removing

    def collect(self, chain_id: str, needed: set[str]) -> list[str]:
        """Drop the chain's layers from the top down to the first one that is ``needed`` or
        held. Directories go in the background, once the disk has it that nothing refers to them.
        Returns the chain IDs dropped."""
        dropped: list[Layer] = []
        while chain_id and chain_id not in needed and not self._held[chain_id]:
            layer = self._store.layers.get(chain_id)
            if layer is None:
                break
            dropped.append(layer)
            chain_id = layer.parent
        self._drop(dropped)
        return [layer.chain_id for layer in dropped]

    def _drop(self, dropped: Sequence[Layer]) -> None:
        if not dropped:
            return

        def forget(tx: Transaction) -> None:
            for layer in dropped:
                tx.layers.delete(layer.chain_id)

        self._store.transact(forget)
        used = {layer.cache_id for layer in self._store.layers.values()}
        for cache_id in {layer.cache_id for layer in dropped} - used:
            self._deferred.put(self._paths.layers / cache_id, after=self._store.durable())

    async def sweep(self, needed: set[str]) -> None:
        """At start: drop rows that nothing needs, and directories without a row."""
        keep = set()
        for chain_id in needed:
            while chain_id and chain_id not in keep:
                keep.add(chain_id)
                layer = self._store.layers.get(chain_id)
                chain_id = layer.parent if layer else ""
        stale = [layer for layer in self._store.layers.values() if layer.chain_id not in keep]

        def forget(tx: Transaction) -> None:
            for layer in stale:
                tx.layers.delete(layer.chain_id)

        if stale:
            self._store.transact(forget)
        used = {layer.cache_id for layer in self._store.layers.values()}
        await in_thread(self._sweep_directories, used)

    def _sweep_directories(self, used: set[str]) -> None:
        for name in os.listdir(self._paths.layers):
            if name not in used:
                log.info("removing %s: nothing refers to it", self._paths.layers / name)
                discard(self._paths.layers / name)
        for cache_id in used:
            if not self.directory(cache_id).is_dir():
                log.error("layer directory %s is gone", self.directory(cache_id))


def _is_small(root: Path) -> bool:
    seen = 0
    for _, directories, files in os.walk(root):
        seen += len(directories) + len(files)
        if seen > SMALL_LAYER:
            return False
    # Hashing and reading release the GIL: bytes do not matter, entries do.
    return True


def _replace_directory(source: Path, target: Path) -> None:
    target.rmdir()
    source.rename(target)
