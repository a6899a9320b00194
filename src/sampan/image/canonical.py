"""An image that no registry has ever seen, as a manifest all the same.

    config   the image config as it is stored: its digest is the image's id
    layers   the layers' tars as they are, uncompressed: their digests are the diff IDs

Every host that has the image makes the same bytes of it, so their digest names the image for a
whole cluster: a service can be pinned to what was built on one of its hosts. Compressed layers
would not do: two versions of a compressor give two digests.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from sampan.aio import in_thread
from sampan.image.config import chain_id
from sampan.image.contract import BadLayer
from sampan.image.layers import LayerStore
from sampan.image.manifest import OCI_MANIFEST
from sampan.image.registry import Fetched
from sampan.image.tar import BadTar
from sampan.image.tar_split import tar_bytes
from sampan.store.contract import Store
from sampan.store.records import Image

log = logging.getLogger(__name__)

OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"


def canonical_manifest(image: Image, sizes: Sequence[int]) -> bytes:
    """The manifest of ``image``, whose layers' tars have ``sizes`` bytes (lowest first)."""
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": image.id, "size": len(image.config)},
        "layers": [
            {"mediaType": OCI_LAYER, "digest": diff_id, "size": size}
            for diff_id, size in zip(image.layers, sizes, strict=True)
        ],
    }
    return json.dumps(manifest, separators=(",", ":")).encode()


class Canonicals:
    """The canonical manifests of all images here, by their digests."""

    def __init__(self, store: Store, layers: LayerStore) -> None:
        self._store = store
        self._layers = layers
        self._made: dict[str, Fetched | None] = {}
        self._images: dict[str, str] = {}

    async def of(self, image: Image) -> Fetched | None:
        """The manifest of ``image``; None where its layers are damaged."""
        await self._look()
        return self._made.get(image.id)

    async def find(self, digest: str) -> Image | None:
        """The image whose manifest has this digest."""
        await self._look()
        return self._store.images.get(self._images.get(digest, ""))

    async def _look(self) -> None:
        """Make those that are new, forget those that are gone."""
        images = self._store.images
        for gone in self._made.keys() - images.keys():
            if (old := self._made.pop(gone)) is not None:
                self._images.pop(old.digest, None)
        new = {name: self._tar_splits(images[name]) for name in images.keys() - self._made.keys()}
        if not new:
            return
        sizes = await in_thread(_measure, new)
        for name, found in sizes.items():
            if (image := images.get(name)) is None:
                continue  # gone meanwhile
            self._made[name] = None
            if found is not None:
                body = canonical_manifest(image, found)
                digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
                self._made[name] = Fetched(body, digest, OCI_MANIFEST)
                self._images[digest] = name

    def _tar_splits(self, image: Image) -> list[Path] | None:
        try:
            stack = self._layers.stack(chain_id(image.layers))
        except BadLayer:
            log.warning("image %s has lost a layer: other nodes cannot have it", image.id)
            return None
        return [self._layers.tar_split(layer.cache_id) for layer in reversed(stack)]


def _measure(images: dict[str, list[Path] | None]) -> dict[str, list[int] | None]:
    found: dict[str, list[int] | None] = {}
    for name, tar_splits in images.items():
        try:
            found[name] = (
                None if tar_splits is None else [tar_bytes(str(path)) for path in tar_splits]
            )
        except (OSError, BadTar) as error:
            log.warning("image %s is damaged: other nodes cannot have it: %s", name, error)
            found[name] = None
    return found
