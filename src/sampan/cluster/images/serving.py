"""What a node answers others that want its images: the reading half of the OCI distribution
protocol, on the peer server.

    GET, HEAD /v2/REGISTRY/REPOSITORY/manifests/{tag, digest or image id}
    GET, HEAD /v2/REGISTRY/REPOSITORY/blobs/{image id or diff ID}       with Range: bytes=N-

Layers are put together while they are sent; nothing is written. That takes a process each, so only
a few go out at once: the next caller is told "busy" and tries another node or a little later. The
first ones served serve others by then.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable

from sampan.cluster.peer.contract import Allow, PeerRequest, Reply, Server
from sampan.errors import InvalidArgument, NotFound
from sampan.image.contract import Reference
from sampan.image.peer_blobs import PeerBlobs
from sampan.image.reference import is_digest

MOST = 4
"""Layers on their way out at once."""
BUSY = 429
DIGEST = "docker-content-digest"
_RANGE = re.compile(r"bytes=(\d+)-")


class ImageServer:
    """One a daemon; ``register`` with every peer server that it opens."""

    def __init__(self, peer_blobs: PeerBlobs) -> None:
        self._peer_blobs = peer_blobs
        self._sending = 0

    def register(self, server: Server) -> None:
        """Answer members of the cluster. Raises nothing."""
        for method in ("GET", "HEAD"):
            server.route(
                method,
                "/v2/{name:path}/manifests/{which}",
                self._manifest,
                allow=Allow.NODES,
            )
            server.route(method, "/v2/{name:path}/blobs/{digest}", self._blob, allow=Allow.NODES)

    async def _manifest(self, request: PeerRequest) -> Reply:
        reference = _wanted(request.match["name"], request.match["which"])
        found = await self._peer_blobs.manifest(reference)
        if found is None:
            raise NotFound(f"{reference.familiar} is not on this node")
        headers = {
            "Content-Type": found.media_type,
            "Content-Length": str(len(found.body)),
            DIGEST: found.digest,
        }
        return Reply(headers=headers, body=b"" if request.method == "HEAD" else found.body)

    async def _blob(self, request: PeerRequest) -> Reply:
        digest = request.match["digest"]
        blob = await self._peer_blobs.blob(digest)
        if blob is None:
            raise NotFound(f"blob {digest} is not on this node")
        at = _offset(request.headers.get("range", ""), blob.size)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(blob.size - at),
            DIGEST: digest,
        }
        if at:
            headers["Content-Range"] = f"bytes {at}-{blob.size - 1}/{blob.size}"
        if request.method == "HEAD":
            return Reply(headers=headers)
        if blob.layer and self._sending >= MOST:
            return Reply(status=BUSY, headers={"Retry-After": "1"}, body=b"busy")
        chunks = blob.read(at)
        body: AsyncIterable[bytes] = chunks
        if blob.layer:
            self._sending += 1
            body = _Outgoing(chunks, self.left)
        return Reply(status=206 if at else 200, headers=headers, body=body)

    def left(self) -> None:
        """A layer has been sent, or is no longer wanted."""
        self._sending -= 1


class _Outgoing:
    """A layer on its way. It counts from its making on, not from its first byte: those who ask at
    the same moment must not all be let in."""

    def __init__(self, chunks: AsyncGenerator[bytes, None], left: Callable[[], None]) -> None:
        self._chunks = chunks
        self._left: Callable[[], None] | None = left

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._chunks

    async def aclose(self) -> None:
        """Called by the server in any case."""
        left, self._left = self._left, None
        try:
            await self._chunks.aclose()
        finally:
            if left is not None:
                left()


def _wanted(name: str, which: str) -> Reference:
    registry, slash, repository = name.partition("/")
    if not slash:
        raise InvalidArgument(f"{name!r} names no registry: docker.io/library/{name}?")
    if is_digest(which):
        return Reference(registry, repository, digest=which)
    return Reference(registry, repository, tag=which)


def _offset(header: str, size: int) -> int:
    """Where to begin. What is not understood counts as not asked, as HTTP has it.

    Raises:
        InvalidArgument: it begins behind the end.
    """
    found = _RANGE.fullmatch(header)
    at = int(found[1]) if found is not None else 0
    if at and at >= size:
        raise InvalidArgument(f"the blob has {size} bytes: nothing is left from {at} on")
    return at
