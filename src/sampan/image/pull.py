"""Pulling: resolve, find what is missing, fetch and unpack at once, then name the image.
Where from is a ``Source``: a registry's repository, or other nodes of the cluster.

Each layer goes from the socket through the unpacking worker to its directory; nothing compressed
touches the disk. Layers are independent directories, so they come in side by side, in any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from sampan.errors import NotFound, Unsupported
from sampan.image.config import chain_ids, parse_config
from sampan.image.contract import (
    BadLayer,
    Credentials,
    Platform,
    Progress,
    Reference,
    RegistryFailed,
    Report,
)
from sampan.image.image_index import ImageIndex
from sampan.image.layers import LayerStore
from sampan.image.manifest import (
    LIMIT,
    Descriptor,
    Index,
    Manifest,
    choose,
    parse_manifest,
    parse_platform,
)
from sampan.image.reference import familiar_repository
from sampan.image.registry import Fetched, RegistryClient, RegistryEndpoint, RepositorySession
from sampan.single_flight import SingleFlight
from sampan.store.records import Image, Layer

DOWNLOADS = 3
"""Layers in the air at once, over all pulls: Docker's default."""
STEP_BYTES = 512 * 1024
"""Progress is told every so many bytes of a layer."""


class ImageSource(Protocol):
    """Where an image is taken from: a repository of a registry, or other nodes."""

    async def manifest(self, which: str) -> Fetched:
        """By tag or digest, verified. Raises NotFound."""
        ...

    async def blob(self, digest: str, limit: int) -> bytes:
        """A small blob, verified."""
        ...

    async def layers(self, manifest: Manifest, diff_ids: tuple[str, ...]) -> tuple[Descriptor, ...]:
        """What to ask ``stream`` for, lowest first: one for each of ``diff_ids``."""
        ...

    def stream(self, digest: str, size: int) -> AsyncGenerator[bytes, None]:
        """A layer's bytes, unverified."""
        ...


class Puller:
    def __init__(self, client: RegistryClient, index: ImageIndex, layers: LayerStore) -> None:
        self._client = client
        self._index = index
        self._layers = layers
        self._slots = asyncio.Semaphore(DOWNLOADS)
        self._coming: SingleFlight[Layer, Progress] = SingleFlight("fetch")

    async def pull(
        self,
        reference: Reference,
        credentials: Credentials | None,
        platform: str,
        report: Report,
    ) -> Image:
        """Raises NotFound (no such tag, repository or platform), RegistryFailed, BadLayer,
        Exhausted, Unsupported."""
        session, fetched = await self.ask(reference, credentials)
        # Said only now, so that what cannot be found at all is an error and not a broken stream.
        report(Progress(f"Pulling from {_shown(reference)}", id=reference.digest or reference.tag))
        before = self._index.named(reference)
        by_digest = replace(reference, tag="", digest=fetched.digest)
        names = (by_digest,) if reference.digest else (reference, by_digest)
        image = await self.take(session, fetched, names, platform=platform, report=report)
        report(Progress(f"Digest: {fetched.digest}"))
        new = before is None or before.id != image.id
        verb = "Downloaded newer image for" if new else "Image is up to date for"
        report(Progress(f"Status: {verb} {reference.familiar}"))
        return image

    async def ask(
        self, reference: Reference, credentials: Credentials | None
    ) -> tuple[RepositorySession, Fetched]:
        """What the registry says of ``reference``, and where to take it from: the first endpoint
        that has it, as a mirror may lack what its origin has.

        Raises:
            NotFound, RegistryFailed
        """
        which = reference.digest or reference.tag
        session = self._client.session(reference, credentials)
        endpoints = await self._client.reach(reference.registry)
        for endpoint in endpoints[:-1]:
            try:
                return session, await self._ask(session, endpoint, which)
            except (NotFound, RegistryFailed):
                continue
        return session, await self._ask(session, endpoints[-1], which)

    async def _ask(
        self, session: RepositorySession, endpoint: RegistryEndpoint, which: str
    ) -> Fetched:
        await session.use(endpoint)
        return await session.manifest(which)

    async def take(
        self,
        source: ImageSource,
        fetched: Fetched,
        names: tuple[Reference, ...],
        *,
        platform: str = "",
        from_cluster: bool = False,
        report: Report,
    ) -> Image:
        """Bring the image that ``fetched`` leads to from ``source``, and call it ``names``.

        Raises:
            NotFound (no such platform), BadLayer, Exhausted, Unsupported; whatever the source
            raises.
        """
        manifest, proof = await self._manifest(source, fetched, parse_platform(platform))
        image_id = manifest.config.digest
        blob = await source.blob(image_id, manifest.config.size or LIMIT)
        config = parse_config(blob)
        if len(config.diff_ids) != len(manifest.layers):
            raise BadLayer(
                f"the image config names {len(config.diff_ids)} layers, the manifest "
                f"{len(manifest.layers)}"
            )
        layers = await source.layers(manifest, config.diff_ids)
        chains = chain_ids(config.diff_ids)
        with self._layers.hold(chains):
            await self._fetch_all(source, layers, config.diff_ids, chains, report)
            size = sum(layer.size for layer in self._layers.stack(chains[-1] if chains else ""))
            return self._index.put(
                image_id, blob, size, names=names, manifests=proof, from_cluster=from_cluster
            )

    async def _manifest(
        self, source: ImageSource, fetched: Fetched, wanted: Platform
    ) -> tuple[Manifest, tuple[bytes, ...]]:
        """The manifest for this host, and every body on the way to it."""
        found = parse_manifest(fetched.body, fetched.media_type)
        proof = [fetched.body]
        while isinstance(found, Index):
            if len(proof) > 4:
                raise BadLayer("an index of indexes of indexes: the manifest leads nowhere")
            chosen = choose(found, wanted)
            proof.append((await source.manifest(chosen.digest)).body)
            found = parse_manifest(proof[-1])
        return found, tuple(proof)

    async def _fetch_all(
        self,
        source: ImageSource,
        blobs: tuple[Descriptor, ...],
        diff_ids: tuple[str, ...],
        chains: tuple[str, ...],
        report: Report,
    ) -> None:
        missing = []
        parents = ("", *chains)
        for blob, diff_id, chain, parent in zip(blobs, diff_ids, chains, parents, strict=False):
            short = _short(blob)
            if self._layers.get(chain) is None:
                known = self._layers.by_diff_id(diff_id)
                if known is None:
                    report(Progress("Pulling fs layer", id=short))
                    missing.append((blob, diff_id, parent))
                    continue
                self._layers.alias(known, parent)
            report(Progress("Already exists", id=short))
        try:
            async with asyncio.TaskGroup() as group:
                for blob, diff_id, parent in missing:
                    group.create_task(
                        self._one(source, blob, diff_id, parent, report), name="pull layer"
                    )
        except BaseExceptionGroup as several:
            # The first failure cancelled the others: it is the one to tell.
            first = several.exceptions[0]
            raise first from first.__cause__

    async def _one(
        self,
        source: ImageSource,
        blob: Descriptor,
        diff_id: str,
        parent: str,
        report: Report,
    ) -> None:
        layer = await self._coming.join(
            diff_id,
            lambda tell: self._fetch(source, blob, diff_id, parent, tell),
            report,
            catch_up=False,
        )
        # Whoever joined may want it over another parent.
        self._layers.alias(layer, parent)
        report(Progress("Pull complete", id=_short(blob)))

    async def _fetch(
        self, source: ImageSource, blob: Descriptor, diff_id: str, parent: str, tell: Report
    ) -> Layer:
        short = _short(blob)
        if blob.media_type.endswith("+zstd"):
            _need_zstd(short)

        async with self._slots:
            told = _told(source.stream(blob.digest, blob.size), blob, short, tell)
            # Whoever stops reading early must not leave a connection to the garbage collector.
            async with aclosing(told):
                try:
                    return await self._layers.unpack(
                        told, parent=parent, digest=blob.digest, diff_id=diff_id
                    )
                except BadLayer as error:
                    error.diff_id = diff_id
                    raise


async def _told(
    stream: AsyncGenerator[bytes, None], blob: Descriptor, short: str, tell: Report
) -> AsyncGenerator[bytes, None]:
    at = told = 0
    async with aclosing(stream):
        async for chunk in stream:
            at += len(chunk)
            if at - told >= STEP_BYTES:
                told = at
                tell(Progress("Downloading", id=short, current=at, total=blob.size))
            yield chunk
    tell(Progress("Verifying Checksum", id=short))
    tell(Progress("Download complete", id=short))
    tell(Progress("Extracting", id=short, current=at, total=at))


def _need_zstd(short: str) -> None:
    try:
        import zstandard  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
    except ImportError:
        raise Unsupported(
            f"layer {short} is compressed with zstd, which needs the Python package zstandard "
            "(Debian: python3-zstandard) beside the daemon"
        ) from None


def _short(blob: Descriptor) -> str:
    return blob.digest.partition(":")[2][:12]


def _shown(reference: Reference) -> str:
    if reference.registry == "docker.io":
        return reference.repository
    return familiar_repository(reference).partition("/")[2]
