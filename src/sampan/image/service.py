"""The image service: ``Images`` and ``Snapshots`` on top of their parts, and how it is opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from sampan.aio import Clock, in_thread
from sampan.config import DaemonConfig
from sampan.errors import InvalidArgument, Unsupported
from sampan.image import archive
from sampan.image.config import chain_id, chain_ids, encode_config, parse_config, rfc3339
from sampan.image.contract import (
    BadLayer,
    Credentials,
    Described,
    ImageConfig,
    InUse,
    Progress,
    Reference,
    Removed,
    Report,
    Snapshots,
)
from sampan.image.deferred_delete import DeferredDelete, discard
from sampan.image.distribution import Distribution
from sampan.image.image_index import ImageIndex
from sampan.image.layers import LayerStore
from sampan.image.manifest import parse_platform
from sampan.image.overlay import OverlaySnapshots, probe
from sampan.image.peer_blobs import PeerBlobs
from sampan.image.pull import Puller
from sampan.image.push import Pusher
from sampan.image.reference import parse
from sampan.image.registry import RegistryClient
from sampan.image.snapshots import SnapshotDriver
from sampan.image.vfs import VfsSnapshots
from sampan.image.workers import WorkerPool
from sampan.store.contract import Store
from sampan.store.records import Image

OUTGOING = 4
"""Layers that are put together at once, for pushes, archives and other nodes."""


def _silent(_: Progress) -> None:
    return None


class ImageStore:
    """``Images``."""

    def __init__(
        self,
        config: DaemonConfig,
        index: ImageIndex,
        layers: LayerStore,
        snapshots: SnapshotDriver,
        registry: RegistryClient,
        clock: Clock,
    ) -> None:
        self._paths = config.paths
        self._index = index
        self._layers = layers
        self._snapshots = snapshots
        self._clock = clock
        self.puller = Puller(registry, index, layers)
        self._pusher = Pusher(registry, layers, config.paths)
        self.distribution = Distribution(registry)

    def get(self, ref: str) -> Image:
        return self._index.get(ref)

    def config(self, image: Image) -> ImageConfig:
        return self._index.config(image)

    def all(self) -> list[Image]:
        return self._index.all()

    def tags(self, image_id: str) -> list[str]:
        return self._index.tags(image_id)

    def digests(self, image_id: str) -> list[str]:
        return self._index.digests(image_id)

    def tag(self, image_id: str, ref: str) -> None:
        self._index.tag(image_id, ref)

    def layer_sizes(self, image: Image) -> list[int]:
        """Bytes of each layer, lowest first: what ``history`` shows."""
        found = (self._layers.get(chain) for chain in chain_ids(image.layers))
        return [layer.size if layer is not None else 0 for layer in found]

    def disk_usage(self) -> int:
        """Bytes of all layers, each once."""
        return self._layers.total_size()

    async def pull(
        self,
        ref: str,
        *,
        credentials: Credentials | None = None,
        platform: str = "",
        report: Report = _silent,
    ) -> Image:
        return await self.puller.pull(parse(ref), credentials, platform, report)

    async def push(
        self, ref: str, *, credentials: Credentials | None = None, report: Report = _silent
    ) -> str:
        """Send the image called ``ref`` to its registry. Returns the manifest's digest.

        Raises:
            NoSuchImage, Forbidden, RegistryFailed
        """
        reference = parse(ref)
        return await self._pusher.push(reference, self._index.get(ref), credentials, report)

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        """What ``reference`` is in its registry. Nothing is kept of it."""
        return await self.distribution.describe(reference, auth)

    async def login(self, server: str, credentials: Credentials | None) -> None:
        """Whether the registry accepts them.

        Raises:
            Unauthorized, RegistryFailed
        """
        await self.distribution.login(server, credentials)

    async def load(
        self, archive_: AsyncIterator[bytes], *, report: Report = _silent
    ) -> Sequence[str]:
        return await archive.load(archive_, self._paths, self._index, self._layers, report)

    def save(self, refs: Sequence[str]) -> AsyncIterator[bytes]:
        chosen = archive.choose(refs, self._index)
        return archive.save(chosen, self._layers)

    async def import_rootfs(
        self,
        archive: AsyncIterator[bytes],
        *,
        ref: str = "",
        message: str = "",
        config: dict[str, object] | None = None,
        platform: str = "",
    ) -> Image:
        name = parse(ref) if ref else None
        if name is not None and name.digest:
            raise InvalidArgument("cannot import digest reference")
        layer = await self._layers.unpack(archive)
        with self._layers.hold([layer.chain_id]):
            created = rfc3339(self._clock.now())
            wanted = parse_platform(platform)
            comment = message or "Imported from -"
            image_config: dict[str, object] = {
                "architecture": wanted.architecture,
                "os": wanted.os,
                **({"variant": wanted.variant} if wanted.variant else {}),
                "created": created,
                "config": config or {},
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
                "history": [{"created": created, "comment": comment}],
            }
            image_id, blob = encode_config(image_config)
            names = (name,) if name is not None else ()
            return self._index.put(image_id, blob, layer.size, names=names, comment=comment)

    async def create(
        self,
        *,
        config: dict[str, object],
        layers: Sequence[str],
        parent: str = "",
        comment: str = "",
    ) -> Image:
        """``layers`` are diff IDs, lowest first, and must be those of the config's rootfs."""
        image_id, blob = encode_config(config)
        if parse_config(blob).diff_ids != tuple(layers):
            raise InvalidArgument("rootfs.diff_ids of the image config are not its layers")
        chain = chain_id(tuple(layers))
        if not self._layers.complete(chain):
            raise BadLayer(f"the layers of {image_id} are not on this host")
        size = sum(layer.size for layer in self._layers.stack(chain))
        return self._index.put(image_id, blob, size, parent=parent, comment=comment)

    async def remove(
        self,
        ref: str,
        *,
        force: bool = False,
        prune_parents: bool = True,
        in_use: InUse,
    ) -> Removed:
        before = {image.id: image for image in self._index.all()}
        removed = self._index.remove(ref, force=force, prune_parents=prune_parents, in_use=in_use)
        needed = self._needed()
        dropped: list[str] = []
        for image_id in removed.deleted:
            dropped += self._layers.collect(chain_id(before[image_id].layers), needed)
        return Removed(removed.untagged, (*removed.deleted, *dropped))

    def _needed(self) -> set[str]:
        """Every chain that an image or a snapshot stands on, prefixes included."""
        needed: set[str] = set()
        for chain in self._index.chains() | self._snapshots.parents():
            while chain and chain not in needed:
                needed.add(chain)
                layer = self._layers.get(chain)
                chain = layer.parent if layer is not None else ""
        return needed

    def chains_needed(self) -> set[str]:
        """For the sweep at start."""
        return self._needed()


@dataclass(frozen=True, slots=True)
class ImageService:
    images: ImageStore
    snapshots: Snapshots
    peer_blobs: PeerBlobs
    """For the cluster."""


@asynccontextmanager
async def open_images(
    config: DaemonConfig, store: Store, clock: Clock
) -> AsyncIterator[ImageService]:
    """Sweep what the last daemon left half made, choose the snapshot driver, and serve.

    Raises:
        Unsupported: ``storage_driver`` was chosen and does not work here.
    """
    await in_thread(_directories, config)
    async with AsyncExitStack() as stack:
        trash = DeferredDelete()
        pool = WorkerPool()
        stack.push_async_callback(pool.close)
        stack.push_async_callback(trash.close)
        outgoing = WorkerPool(most=OUTGOING)
        stack.push_async_callback(outgoing.close)
        layers = LayerStore(config.paths, store, pool, trash, outgoing=outgoing)
        snapshots = await _driver(config, layers, pool, trash)
        await snapshots.open()
        index = ImageIndex(store, clock)
        registry = await stack.enter_async_context(RegistryClient.open(config, clock))
        images = ImageStore(config, index, layers, snapshots, registry, clock)
        await layers.sweep(images.chains_needed())
        peer_blobs = PeerBlobs(store, index, layers, images.puller, images.distribution)
        yield ImageService(images, snapshots, peer_blobs)


def _directories(config: DaemonConfig) -> None:
    paths = config.paths
    # The container's files are as open as its image made them: only root may walk in here.
    for path in (paths.layers, paths.snapshots, paths.blobs, paths.tmp):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for debris in (*paths.tmp.iterdir(), *paths.blobs.iterdir()):
        discard(debris)


async def _driver(
    config: DaemonConfig, layers: LayerStore, pool: WorkerPool, trash: DeferredDelete
) -> SnapshotDriver:
    wanted = config.storage_driver
    if wanted == "vfs":
        return VfsSnapshots(config.paths, layers, pool, trash)
    if wanted not in (None, "overlay2", "overlay"):
        raise Unsupported(f"storage driver {wanted!r}: there are overlay2 and vfs")
    try:
        await in_thread(probe, config.paths)
    except Unsupported:
        if wanted is not None:
            raise
        return VfsSnapshots(config.paths, layers, pool, trash)
    return OverlaySnapshots(config.paths, layers, pool, trash)
