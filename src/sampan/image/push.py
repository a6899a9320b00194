"""Pushing: layers are put together again, compressed and sent; then config, then manifest.

A layer's compressed form is not kept, so it is made anew. The file it is made into lives in
``tmp/`` for the length of the upload: its digest must be known before the last byte is sent, and a
registry that breaks off is asked again.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from isal import isal_zlib

from sampan.aio import in_thread, shielded
from sampan.config import Paths
from sampan.errors import Forbidden
from sampan.image.config import chain_id
from sampan.image.contract import Credentials, Progress, Reference, RegistryFailed, Report
from sampan.image.deferred_delete import DISCARD_S, discard
from sampan.image.layers import LayerStore
from sampan.image.manifest import DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST
from sampan.image.registry import AccessDenied, RegistryClient, RepositorySession, error_codes
from sampan.store.records import Image, Layer

CHUNK = 1 << 20
LEVEL = 1
"""isal's: about the size that gzip -4 gives, at 400 MB/s."""


class Pusher:
    def __init__(self, client: RegistryClient, layers: LayerStore, paths: Paths) -> None:
        self._client = client
        self._layers = layers
        self._paths = paths

    async def push(
        self, reference: Reference, image: Image, credentials: Credentials | None, report: Report
    ) -> str:
        """Returns the manifest's digest. Raises Forbidden, RegistryFailed."""
        shown = f"{reference.registry}/{reference.repository}"
        report(Progress(f"The push refers to repository [{shown}]"))
        session = self._client.session(reference, credentials, push=True)
        endpoints = await self._client.reach(reference.registry)
        try:
            await session.use(endpoints[-1])  # mirrors are for pulling
        except AccessDenied as error:
            raise Forbidden(
                f"push access denied to {shown}: log in with 'docker login {reference.registry}'"
            ) from error
        chain = chain_id(image.layers)
        descriptors = []
        with self._layers.hold([chain]):
            for layer in reversed(self._layers.stack(chain)):
                descriptors.append(await self._layer(session, layer, report))
        await self._small(session, image.id, image.config)
        manifest = _manifest(image, descriptors)
        digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
        path = f"manifests/{reference.tag or digest}"
        async with session.send("PUT", path, {"Content-Type": DOCKER_MANIFEST}, manifest) as reply:
            _expect(reply.status, (201, 202), await reply.read(), "the manifest")
        report(Progress(f"{reference.tag}: digest: {digest} size: {len(manifest)}"))
        return digest

    async def _layer(
        self, session: RepositorySession, layer: Layer, report: Report
    ) -> dict[str, Any]:
        short = layer.diff_id[7:19]
        report(Progress("Preparing", id=short))
        scratch = self._paths.tmp / f"push-{secrets.token_hex(8)}"
        try:
            digest, size = await self._compress(layer, scratch)
            if await self._has(session, digest):
                report(Progress("Layer already exists", id=short))
            else:
                await self._upload(session, digest, scratch, size, short, report)
                report(Progress("Pushed", id=short))
            return {"mediaType": DOCKER_LAYER, "size": size, "digest": digest}
        finally:
            await shielded(in_thread(discard, scratch), deadline_s=DISCARD_S)

    async def _compress(self, layer: Layer, scratch: Path) -> tuple[str, int]:
        zip_ = isal_zlib.compressobj(LEVEL, wbits=31)
        total = hashlib.sha256()
        size = 0
        with await in_thread(open, scratch, "xb") as file:

            def add(data: bytes) -> int:
                total.update(data)
                file.write(data)
                return len(data)

            async for chunk in self._layers.tar(layer):
                size += await in_thread(lambda chunk=chunk: add(zip_.compress(chunk)))  # type: ignore[misc]
            size += await in_thread(lambda: add(zip_.flush()))
        return f"sha256:{total.hexdigest()}", size

    async def _has(self, session: RepositorySession, digest: str) -> bool:
        async with session.send("HEAD", f"blobs/{digest}") as reply:
            return reply.status == 200

    async def _upload(
        self,
        session: RepositorySession,
        digest: str,
        source: Path,
        size: int,
        short: str,
        report: Report,
    ) -> None:
        async def body() -> AsyncIterator[bytes]:
            sent = 0
            with await in_thread(open, source, "rb") as file:
                while chunk := await in_thread(file.read, CHUNK):
                    yield chunk
                    sent += len(chunk)
                    report(Progress("Pushing", id=short, current=sent, total=size))

        location = await self._begin(session)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        where = _with_digest(location, digest)
        async with session.send("PUT", where, headers, data=body()) as reply:
            _expect(reply.status, (201, 202, 204), await reply.read(), f"layer {short}")

    async def _small(self, session: RepositorySession, digest: str, blob: bytes) -> None:
        if await self._has(session, digest):
            return
        where = _with_digest(await self._begin(session), digest)
        headers = {"Content-Type": "application/octet-stream"}
        async with session.send("PUT", where, headers, blob) as reply:
            _expect(reply.status, (201, 202, 204), await reply.read(), "the image config")

    async def _begin(self, session: RepositorySession) -> str:
        async with session.send("POST", "blobs/uploads/") as reply:
            _expect(reply.status, (202,), await reply.read(), "the upload")
            return reply.headers["Location"]


def _with_digest(location: str, digest: str) -> str:
    return f"{location}{'&' if '?' in location else '?'}digest={digest}"


def _expect(status: int, good: tuple[int, ...], body: bytes, what: str) -> None:
    if status in good:
        return
    detail = error_codes(body) or f"it answered {status}"
    if status in (401, 403):
        raise Forbidden(f"denied: requested access to the resource is denied ({detail})")
    raise RegistryFailed(f"the registry did not take {what}: {detail}")


def _manifest(image: Image, layers: list[dict[str, Any]]) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST,
            "config": {
                "mediaType": DOCKER_CONFIG,
                "size": len(image.config),
                "digest": image.id,
            },
            "layers": layers,
        },
        separators=(",", ":"),
    ).encode()
