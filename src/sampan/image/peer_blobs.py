"""What hosts give each other: an image as manifests and blobs, and back.

Two kinds of digest name an image. A *registry's* is that of a manifest whose layers are compressed;
those are not kept, but the manifest is (``ImageDigest.manifests``), and it leads to the config,
which leads to the diff IDs. The *canonical* one (see canonical.py) is made here. Either way what a
host takes from another is checked from the digest it asked for down to each layer's bytes: nobody
has to be believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace

import msgspec

from sampan.aio import in_thread
from sampan.image.canonical import Canonicals
from sampan.image.contract import Credentials, Described, Platform, Reference, Report
from sampan.image.distribution import Distribution
from sampan.image.image_index import ImageIndex
from sampan.image.layers import LayerStore
from sampan.image.manifest import OCI_MANIFEST, Index, parse_manifest
from sampan.image.pull import ImageSource, Puller
from sampan.image.registry import Fetched
from sampan.store.contract import Store
from sampan.store.records import Image, ImageDigest, Layer


@dataclass(frozen=True, slots=True)
class Blob:
    """A config or a layer, ready to be sent."""

    size: int
    read: Callable[[int], AsyncGenerator[bytes, None]]
    """Its bytes from an offset on. Close it where it is left early."""
    layer: bool


class _MediaType(msgspec.Struct):
    media_type: str = msgspec.field(name="mediaType", default="")


class PeerBlobs:
    """One a daemon; used on the loop only."""

    def __init__(
        self,
        store: Store,
        index: ImageIndex,
        layers: LayerStore,
        puller: Puller,
        distribution: Distribution,
    ) -> None:
        self._store = store
        self._index = index
        self._layers = layers
        self._puller = puller
        self._distribution = distribution
        self._canonicals = Canonicals(store, layers)

    # -- what is here

    async def find(self, reference: Reference) -> Image | None:
        """The image that ``reference`` names on this host. A digest counts, wherever the image
        got it, and is a name of the image from then on."""
        if (image := self._index.named(reference)) is not None or not reference.digest:
            return image
        row = self._row(reference.digest)
        image = (
            self._store.images.get(row.image_id)
            if row is not None
            else await self._canonicals.find(reference.digest)
        )
        if image is not None:
            proof = row.manifests if row is not None else ()
            self._index.put(
                image.id,
                image.config,
                image.size,
                names=(replace(reference, tag=""),),
                manifests=proof,
            )
        return image

    def by_id(self, text: str) -> Image | None:
        """By full image id."""
        return self._store.images.get(text if ":" in text else f"sha256:{text}")

    async def manifest(self, reference: Reference) -> Fetched | None:
        """For another host: the manifest behind a tag, a digest, or an image id. A tag leads to
        what a registry said of it, if one did."""
        if reference.digest:
            if (found := self._kept(reference.digest)) is not None:
                return found
            image = await self._canonicals.find(reference.digest) or self.by_id(reference.digest)
            return await self._canonicals.of(image) if image is not None else None
        if (image := self._index.named(reference)) is None:
            return None
        return await self.said(reference, image) or await self._canonicals.of(image)

    async def said(self, reference: Reference, image: Image) -> Fetched | None:
        """What the registry said of ``image`` when it came from ``reference``'s repository."""
        own = await self._canonicals.of(image)
        prefix = f"{reference.registry}/{reference.repository}@"
        for row in self._store.image_digests.values():
            digest = row.name.removeprefix(prefix)
            if row.image_id != image.id or digest == row.name or not row.manifests:
                continue
            if own is None or own.digest != digest:
                return _fetched(row.manifests[0])
        return None

    async def blob(self, digest: str) -> Blob | None:
        """For another host: an image's config, or a layer's tar by its diff ID.

        Raises:
            BadTar: the layer is damaged.
        """
        if (image := self._store.images.get(digest)) is not None:
            return Blob(len(image.config), lambda at: _once(image.config[at:]), layer=False)
        if (layer := self._layers.by_diff_id(digest)) is None:
            return None
        size = await in_thread(self._layers.tar_bytes, layer)
        return Blob(size, lambda at: self._tar(layer, at), layer=True)

    async def explain(self, fetched: Fetched, image: Image | None) -> Described:
        """``fetched`` as the API tells it; ``image``: what it leads to on this host, if known."""
        found = parse_manifest(fetched.body, fetched.media_type)
        platforms: tuple[Platform, ...] = ()
        if isinstance(found, Index):
            platforms = tuple(one.platform for one in found.manifests if one.platform is not None)
        elif image is not None:
            config = self._index.config(image)
            platforms = (Platform(config.architecture, config.os, config.variant),)
        return Described(fetched.media_type, fetched.digest, len(fetched.body), platforms)

    def _row(self, digest: str) -> ImageDigest | None:
        end = f"@{digest}"
        rows = self._store.image_digests.values()
        return next((row for row in rows if row.name.endswith(end)), None)

    def _kept(self, digest: str) -> Fetched | None:
        for row in self._store.image_digests.values():
            if row.manifests and row.name.endswith(f"@{digest}"):
                return _fetched(row.manifests[0])
        for row in self._store.image_digests.values():
            for body in row.manifests[1:]:
                if (found := _fetched(body)).digest == digest:
                    return found
        return None

    async def _tar(self, layer: Layer, at: int) -> AsyncGenerator[bytes, None]:
        with self._layers.hold([layer.chain_id]):
            async with aclosing(self._layers.tar(layer)) as chunks:
                async for chunk in chunks:
                    if at >= len(chunk):
                        at -= len(chunk)
                        continue
                    yield chunk[at:] if at else chunk
                    at = 0

    # -- what is elsewhere

    async def ask(
        self, reference: Reference, credentials: Credentials | None
    ) -> tuple[ImageSource, Fetched]:
        """What its registry says of ``reference``. Raises NotFound, RegistryFailed."""
        return await self._puller.ask(reference, credentials)

    async def describe(self, reference: Reference, credentials: Credentials | None) -> Described:
        """The same without a way to take it. Raises NotFound, RegistryFailed."""
        return await self._distribution.describe(reference, credentials)

    async def take(
        self, source: ImageSource, fetched: Fetched, reference: Reference, report: Report
    ) -> Image:
        """Bring an image here for a task that calls it ``reference``.

        It gets the digest as a name, and the tag too where that does not take a name from what a
        person on this host gave it to.

        Raises:
            NotFound (no such platform), BadLayer, Exhausted, Unsupported; what ``source`` raises.
        """
        names = [replace(reference, tag="", digest=fetched.digest)]
        if reference.tag and self._is_free(replace(reference, digest="")):
            names.append(replace(reference, digest=""))
        return await self._puller.take(
            source, fetched, tuple(names), from_cluster=True, report=report
        )

    def _is_free(self, tag: Reference) -> bool:
        row = self._store.image_tags.get(tag.canonical)
        return row is None or row.from_cluster


def _fetched(body: bytes) -> Fetched:
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    kind = msgspec.json.decode(body, type=_MediaType).media_type or OCI_MANIFEST
    return Fetched(body, digest, kind)


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body
