"""Taking images from other nodes: who has it, and a pull's ``Source`` over all who do.

A layer may come from several nodes one after the other: where one breaks off, stalls or is gone,
the next goes on from that byte. Every byte is verified by digest when the layer is complete, so it
does not matter from whom a part of it was.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field, replace
from typing import TypeVar
from urllib.parse import quote

from sampan.aio import Clock, Tasks, deadline, first_of
from sampan.cluster.images.contract import PeerSource
from sampan.cluster.images.serving import BUSY
from sampan.cluster.peer.contract import Client, Incoming, Unreachable
from sampan.errors import Forbidden, Internal, InvalidArgument, NotFound, SampanError, Unavailable
from sampan.image.contract import BadLayer, Reference
from sampan.image.manifest import LIMIT, Descriptor, Manifest, parse_manifest
from sampan.image.registry import Fetched

T = TypeVar("T")

ASK_S = 2.0
"""A node that does not say within this time whether it has an image is passed over."""
WAVE = 16
"""Nodes asked at once: in a cluster of hundreds, not everybody asks everybody."""
MORE_S = 0.05
"""How long the others may take after the first that has it, to be of use as well."""
STALL_S = 10.0
"""A node that sends nothing for so long is given up."""
BUSY_PAUSE_S = 0.25
BUSY_LIMIT_S = 300.0
"""Everybody who has it was busy for so long."""
_GATHERED = 256 * 1024
_NOT_FROM_HERE = (NotFound, Unavailable, Forbidden, Internal, InvalidArgument)
"""What one node says, another may not."""


class BrokeOff(Unavailable):
    """Every node that had the image failed in the middle of it."""


@dataclass(slots=True)
class Found:
    """What the other nodes said of one name."""

    fetched: Fetched | None = None
    holders: list[PeerSource] = field(default_factory=list)
    lacking: list[PeerSource] = field(default_factory=list)
    silent: list[PeerSource] = field(default_factory=list)

    def sentence(self) -> str:
        """``not on host1, host2; host3 does not answer``; empty when nobody was asked."""
        parts = []
        if self.lacking:
            parts.append(f"not on {', '.join(each.shown for each in self.lacking)}")
        if self.silent:
            verb = "does" if len(self.silent) == 1 else "do"
            parts.append(f"{', '.join(each.shown for each in self.silent)} {verb} not answer")
        return "; ".join(parts)


class Peers:
    """Questions to other nodes."""

    def __init__(self, client: Client, clock: Clock, *, stall_s: float = STALL_S) -> None:
        self.client = client
        self.clock = clock
        self._stall_s = stall_s

    async def find(self, reference: Reference, sources: Sequence[PeerSource]) -> Found:
        """Who has ``reference``: returns soon after the first one that does.

        Of a tag, nodes may have different images: those that agree with the first one count.
        """
        found = Found()
        waiting = list(sources)
        random.shuffle(waiting)  # so that many who want the same do not all ask the same
        while waiting and found.fetched is None:
            wave, waiting = waiting[:WAVE], waiting[WAVE:]
            await self._wave(reference, wave, found)
        order = {source: at for at, source in enumerate(sources)}
        found.lacking.sort(key=order.__getitem__)
        found.silent.sort(key=order.__getitem__)
        return found

    async def _wave(self, reference: Reference, wave: Sequence[PeerSource], found: Found) -> None:
        tasks, clock = Tasks(), self.clock
        asked = {
            tasks.spawn(self._has(reference, source), name=f"image? {source.node_id}"): source
            for source in wave
        }
        pending = set(asked)
        try:
            until = clock.monotonic() + ASK_S
            while pending and (left := until - clock.monotonic()) > 0:
                answer = asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                name, told = await first_of(answer=answer, time=clock.sleep(left))
                if name == "time":
                    break
                done, pending = told
                for task in done:
                    self._note(found, asked[task], task.result())
                if found.fetched is not None:
                    until = min(until, clock.monotonic() + MORE_S)
        finally:
            await tasks.close()
        found.silent += [asked[task] for task in pending]

    @staticmethod
    def _note(found: Found, source: PeerSource, said: Fetched | SampanError) -> None:
        if isinstance(said, NotFound):
            found.lacking.append(source)
        elif isinstance(said, SampanError):
            found.silent.append(source)
        elif found.fetched is None or found.fetched.digest == said.digest:
            found.fetched = said
            found.holders.append(source)

    async def _has(self, reference: Reference, source: PeerSource) -> Fetched | SampanError:
        try:
            return await self.manifest(reference, source)
        except SampanError as error:
            return error

    async def manifest(self, reference: Reference, source: PeerSource) -> Fetched:
        """What ``source`` says of ``reference``; of a digest, proven.

        Raises:
            NotFound, BadLayer, Unreachable ...
        """
        path = f"manifests/{reference.digest or reference.tag}"
        body, kind = await self.small(reference, path, source)
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        if reference.digest and digest != reference.digest:
            raise BadLayer(f"{source.shown} sent another manifest than {reference.digest}")
        return Fetched(body, digest, kind)

    def _get(
        self,
        reference: Reference,
        path: str,
        source: PeerSource,
        headers: dict[str, str] | None = None,
        timeout_s: float = ASK_S,
    ) -> AbstractAsyncContextManager[Incoming]:
        name = quote(f"{reference.registry}/{reference.repository}", safe="/:[]")
        return self.client.stream(
            source.address,
            "GET",
            f"/v2/{name}/{path}",
            headers=headers,
            role=None,
            node_id=source.node_id,
            timeout_s=timeout_s,
        )

    async def small(self, reference: Reference, path: str, source: PeerSource) -> tuple[bytes, str]:
        """A manifest or a config as it came, and its media type."""
        async with self._get(reference, path, source) as incoming:
            try:
                async with deadline(self.clock, self._stall_s):
                    body = await incoming.read(LIMIT)
            except TimeoutError:
                raise Unreachable(
                    source.address, "it stopped in the middle of its answer"
                ) from None
            return body, incoming.headers.get("content-type", "")

    async def layer(
        self, reference: Reference, digest: str, at: int, source: PeerSource
    ) -> AsyncGenerator[bytes, None]:
        """A layer from byte ``at`` on.

        Raises:
            Busy: it sends enough already. Unreachable: it broke off. NotFound: no longer there.
        """
        headers = {"Range": f"bytes={at}-"} if at else {}
        async with self._get(
            reference, f"blobs/{digest}", source, headers, timeout_s=self._stall_s
        ) as incoming:
            if incoming.status == BUSY:
                raise Busy(source)
            skip = at if incoming.status == 200 else 0
            chunks = incoming.chunks()
            while True:
                try:
                    async with deadline(self.clock, self._stall_s):
                        chunk = await anext(chunks, b"")
                except TimeoutError:
                    why = f"it sent nothing for {self._stall_s:g} s"
                    raise Unreachable(source.address, why) from None
                if not chunk:
                    return
                if skip:
                    dropped = min(skip, len(chunk))
                    skip -= dropped
                    chunk = chunk[dropped:]
                yield chunk


class Busy(Unavailable):
    """It has it and sends to enough others already."""

    def __init__(self, source: PeerSource) -> None:
        super().__init__(f"{source.shown} is busy sending to others")


class PeerRepository:
    """A pull's ``Source``: all nodes that have one image.

    ``reference`` has its digest. ``again`` tells who else may have it by now, when those that did
    are busy or gone.
    """

    def __init__(
        self,
        peers: Peers,
        reference: Reference,
        holders: Sequence[PeerSource],
        again: Callable[[], Sequence[PeerSource]],
    ) -> None:
        self._peers = peers
        self._reference = reference
        self._holders = list(holders)
        self._again = again
        self._bad: set[str] = set()
        self._served: dict[str, set[PeerSource]] = {}  # diff ID -> who sent a part of it

    async def manifest(self, which: str) -> Fetched:
        """From any of them. Raises NotFound (nobody), BrokeOff."""
        reference = replace(self._reference, tag="", digest=which)
        return await self._any(lambda source: self._peers.manifest(reference, source))

    async def blob(self, digest: str, limit: int) -> bytes:
        """A config, verified. Raises NotFound, BrokeOff."""

        async def get(source: PeerSource) -> bytes:
            body, _ = await self._peers.small(self._reference, f"blobs/{digest}", source)
            if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
                raise BadLayer(f"{source.shown} sent something else than {digest}")
            return body

        return await self._any(get)

    async def layers(self, manifest: Manifest, diff_ids: tuple[str, ...]) -> tuple[Descriptor, ...]:
        """Tars by diff ID, whatever blobs the manifest speaks of: nodes keep no others. How long
        they are the canonical manifest knows."""
        image_id = manifest.config.digest
        if tuple(layer.digest for layer in manifest.layers) != diff_ids:

            async def get(source: PeerSource) -> Manifest:
                path = f"manifests/{image_id}"
                body, _ = await self._peers.small(self._reference, path, source)
                found = parse_manifest(body)
                if (
                    not isinstance(found, Manifest)
                    or tuple(layer.digest for layer in found.layers) != diff_ids
                ):
                    raise BadLayer(f"{source.shown} sent a manifest of another image")
                return found

            manifest = await self._any(get)
        return manifest.layers

    async def _any(self, get: Callable[[PeerSource], Awaitable[T]]) -> T:
        missing: NotFound | None = None
        failure: SampanError | None = None
        for source in self._usable():
            try:
                return await get(source)
            except NotFound as error:
                missing = error
            except (*_NOT_FROM_HERE, BadLayer) as error:
                failure = error
        if missing is not None and failure is None:
            raise missing
        raise BrokeOff(f"no node that has {self._reference.familiar} could give it: {failure}")

    def _usable(self) -> list[PeerSource]:
        return [source for source in self._holders if source.node_id not in self._bad]

    def distrust(self, diff_id: str) -> bool:
        """Leave out the nodes that sent a part of this layer. False: none did, or none is left."""
        suspects = {source.node_id for source in self._served.get(diff_id, ())}
        self._bad |= suspects
        return bool(suspects and self._usable())

    async def stream(self, digest: str, size: int) -> AsyncGenerator[bytes, None]:
        """A layer's tar of ``size`` bytes, unverified; from one node after the other if need be.

        Raises:
            BrokeOff: nobody is left who could go on. BadLayer: it is too long.
        """
        at = 0
        busy_since: float | None = None
        failure: SampanError | None = None
        failed: set[str] = set()
        self._served[digest] = set()
        while at < size or not size:
            candidates = [s for s in self._usable() if s.node_id not in failed]
            if not candidates and not await self._look_again(failed):
                raise BrokeOff(
                    f"every node that has {self._reference.familiar} broke off layer "
                    f"{digest[:19]} after {at} of {size} bytes ({failure})"
                )
            random.shuffle(candidates)
            busy = False
            for source in candidates:
                before = at
                try:
                    chunks = self._peers.layer(self._reference, digest, at, source)
                    async with aclosing(_gathered(chunks)) as gathered:
                        async for chunk in gathered:
                            at += len(chunk)
                            self._served[digest].add(source)
                            if at > size:
                                self._bad.add(source.node_id)
                                raise BadLayer(f"{source.shown} sends more than layer {digest}")
                            yield chunk
                    if at < size:
                        raise Unreachable(source.address, "it ended too early")
                    return
                except Busy:
                    busy = True
                except _NOT_FROM_HERE as error:
                    failure = error
                    failed.add(source.node_id)
                if at > before:
                    busy_since = None
            if busy:
                now = self._peers.clock.monotonic()
                busy_since = busy_since or now
                if now - busy_since > BUSY_LIMIT_S:
                    raise BrokeOff(f"every node that has {self._reference.familiar} is busy")
                await self._peers.clock.sleep(BUSY_PAUSE_S * (1 + random.random()))
                await self._look_again(failed)

    async def _look_again(self, failed: set[str]) -> bool:
        """Whoever has got it meanwhile may send it as well. False: nobody new."""
        known = {source.node_id for source in self._holders} | failed
        new = [source for source in self._again() if source.node_id not in known]
        if not new:
            return False
        found = await self._peers.find(self._reference, new)
        self._holders += found.holders
        return bool(found.holders)


async def _gathered(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """In larger pieces: TLS gives 16 KiB at a time, and each piece costs its way to the worker."""
    waiting: list[bytes] = []
    size = 0
    async with aclosing(chunks):
        async for chunk in chunks:
            waiting.append(chunk)
            size += len(chunk)
            if size >= _GATHERED:
                yield b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
