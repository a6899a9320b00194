"""Bringing one image to this node: whom to ask, in which order, and what to say in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from sampan.aio import Tasks
from sampan.cluster.images.contract import PeerSource
from sampan.cluster.images.peers import Found, PeerRepository, Peers
from sampan.cluster.images.progress import ProgressReporter
from sampan.cluster.images.registries import Registries
from sampan.errors import Exhausted, SampanError, Unavailable
from sampan.image.contract import BadLayer, Credentials, NoSuchImage, Reference
from sampan.image.peer_blobs import PeerBlobs
from sampan.store.records import Image


class NobodyHasIt(NoSuchImage):
    def __init__(self, ref: str, asked: Sequence[str]) -> None:
        super().__init__(f"{ref}: {', '.join(asked)}")
        self.ref = ref


class OutOfReach(Unavailable):
    """Somebody has it, or may have it, but cannot give it now."""

    def __init__(self, ref: str, asked: Sequence[str]) -> None:
        super().__init__(f"image {ref} cannot be had now: {', '.join(asked)}")
        self.ref = ref


@dataclass(slots=True, kw_only=True)
class ImageFetch:
    """One image, once."""

    wanted: Reference
    login: Credentials | None
    peer_blobs: PeerBlobs
    registries: Registries
    peers: Peers | None
    """None: this host is in no cluster."""
    sources: Callable[[], Sequence[PeerSource]]
    reporter: ProgressReporter
    asked: list[str] = field(default_factory=lambda: ["not on this node"])
    """Who was asked, and what they said."""

    async def run(self) -> Image:
        """Raises NobodyHasIt, OutOfReach, Exhausted."""
        self.reporter.begin()
        found, image = await (self._pinned() if self.wanted.digest else self._by_tag())
        if image is not None:
            return image
        if found.holders or found.silent:
            raise OutOfReach(self.wanted.familiar, self.asked)
        raise NobodyHasIt(self.wanted.familiar, self.asked)

    async def _pinned(self) -> tuple[Found, Image | None]:
        found = await self._look()
        return found, await self._from_peers(found) or await self._from_registry()

    async def _by_tag(self) -> tuple[Found, Image | None]:
        tasks = Tasks()
        # At the same time: a registry that does not answer takes seconds to be given up.
        looking = tasks.spawn(self._look(), name="image on other nodes")

        async def offered() -> bool:
            await asyncio.wait({looking})
            return looking.result().fetched is not None

        try:
            if (image := await self._from_registry(offered)) is not None:
                return Found(), image
            found = await looking
        finally:
            await tasks.close()
        return found, await self._from_peers(found)

    async def _look(self) -> Found:
        sources = self.sources()
        if self.peers is None or not sources:
            return Found()
        return await self.peers.find(self.wanted, sources)

    async def _from_registry(
        self, offered: Callable[[], Awaitable[bool]] | None = None
    ) -> Image | None:
        """None: not from there, and ``asked`` says why."""
        registry = self.wanted.registry
        try:
            source, fetched = await self.registries.ask(
                registry, lambda: self.peer_blobs.ask(self.wanted, self.login), offered
            )
            self.reporter.source = registry
            return await self.peer_blobs.take(source, fetched, self.wanted, self.reporter.report)
        except Exhausted:
            raise
        except SampanError as error:
            self.asked.append(f"registry {registry} said: {error}")
            return None

    async def _from_peers(self, found: Found) -> Image | None:
        """None: not from there, and ``asked`` says why."""
        if said := found.sentence():
            self.asked.append(said)
        if found.fetched is None or self.peers is None:
            return None
        pinned = replace(self.wanted, tag="", digest=found.fetched.digest)
        source = PeerRepository(self.peers, pinned, found.holders, self.sources)
        self.reporter.source = ", ".join(each.shown for each in found.holders)
        while True:
            try:
                return await self.peer_blobs.take(
                    source, found.fetched, self.wanted, self.reporter.report
                )
            except Exhausted:
                raise
            except BadLayer as error:
                # Whole layers are kept: only what was bad is fetched again, from others.
                if not source.distrust(error.diff_id):
                    self.asked.append(str(error))
                    return None
                self.reporter.trouble(str(error))
            except SampanError as error:
                self.asked.append(str(error))
                return None
