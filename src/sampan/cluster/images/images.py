"""Images on the way to the tasks that need them, and the digests that services are pinned to.

    images = ClusterImages(exchange, clock)        one a daemon, in a cluster or not
    images.register(server)                        with every peer server, before it starts
    images.join(client, others)                    the node is a member; ``others``: who else is
    await images.provide("web:1@sha256:...", auth=..., sources=..., progress=...)
    await images.describe(reference, login)        what ``GET /distribution/NAME/json`` answers

Where an image is taken from:

    pinned (has a digest)   here, other nodes, its registry: a digest is the same from everywhere,
                            and another node is near, needs no login, and has what was never pushed
    not pinned              here, its registry, other nodes: what a tag means its registry says
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from sampan.aio import Clock
from sampan.cluster.images import logins
from sampan.cluster.images.contract import PeerSource
from sampan.cluster.images.fetch import ImageFetch
from sampan.cluster.images.peers import Found, PeerRepository, Peers
from sampan.cluster.images.progress import ProgressReporter
from sampan.cluster.images.registries import Registries
from sampan.cluster.images.serving import ImageServer
from sampan.cluster.peer.contract import Client, Server
from sampan.errors import NotFound, SampanError
from sampan.image.config import parse_config
from sampan.image.contract import Credentials, Described, Platform, Reference, RegistryFailed
from sampan.image.manifest import LIMIT, Manifest, parse_manifest
from sampan.image.peer_blobs import PeerBlobs
from sampan.image.reference import parse
from sampan.single_flight import SingleFlight


class ClusterImages:
    """``TaskImages`` and ``Describes``."""

    def __init__(self, peer_blobs: PeerBlobs, clock: Clock) -> None:
        self._peer_blobs = peer_blobs
        self._clock = clock
        self._server = ImageServer(peer_blobs)
        self._registries = Registries(clock)
        self._peers: Peers | None = None
        self._others: Callable[[], Sequence[PeerSource]] = tuple
        self._in_flight: SingleFlight[str, str] = SingleFlight("bring")

    # -- membership

    def register(self, server: Server) -> None:
        """Serve this host's images to members on ``server``."""
        self._server.register(server)

    def join(self, client: Client, others: Callable[[], Sequence[PeerSource]]) -> None:
        """This host is a member. ``others``: the other nodes that are up."""
        self._peers = Peers(client, self._clock)
        self._others = others

    async def leave(self) -> None:
        """This host has left the cluster. What is under way ends."""
        self._peers = None
        self._others = tuple
        await self._in_flight.close()

    # -- for tasks

    async def provide(
        self,
        reference: str,
        *,
        auth: str = "",
        sources: Callable[[], Sequence[PeerSource]] = tuple,
        progress: Callable[[str], None] = lambda _: None,
    ) -> str:
        """Make ``reference`` present and return its image id; see ``TaskImages``."""
        if (image := self._peer_blobs.by_id(reference)) is not None:
            return image.id
        wanted = parse(reference)
        if (image := await self._peer_blobs.find(wanted)) is not None:
            return image.id
        login = logins.decode(auth)

        async def bring(say: Callable[[str], None]) -> str:
            fetch = ImageFetch(
                wanted=wanted,
                login=login,
                peer_blobs=self._peer_blobs,
                registries=self._registries,
                peers=self._peers,
                sources=sources,
                reporter=ProgressReporter(wanted, say, self._clock),
            )
            return (await fetch.run()).id

        return await self._in_flight.join((reference, auth), bring, progress)

    # -- for services

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        """What a service that wants ``reference`` is pinned to.

        What was made on this host, and came from no registry, is what is here: no registry is
        asked. Of everything else its registry says what it is; where that does not answer, what
        this host or another node has is taken.

        Raises:
            NotFound, RegistryFailed: with what the registry said.
        """
        if self._peers is None:
            return await self._peer_blobs.describe(reference, auth)
        image = await self._peer_blobs.find(reference)
        here = await self._peer_blobs.manifest(reference) if image is not None else None
        if (
            image is not None
            and here is not None
            and (reference.digest or await self._peer_blobs.said(reference, image) is None)
        ):
            return await self._peer_blobs.explain(here, image)
        try:
            return await self._registries.ask(
                reference.registry, lambda: self._peer_blobs.describe(reference, auth)
            )
        except (NotFound, RegistryFailed) as error:
            if here is not None:
                return await self._peer_blobs.explain(here, image)
            found = await self._peers.find(reference, self._others())
            if found.fetched is None:
                raise type(error)(_also(error, found)) from error
            return await self._explained(reference, found)

    async def _explained(self, reference: Reference, found: Found) -> Described:
        assert found.fetched is not None
        assert self._peers is not None
        described = await self._peer_blobs.explain(found.fetched, None)
        manifest = parse_manifest(found.fetched.body)
        if not isinstance(manifest, Manifest):
            return described
        pinned = replace(reference, tag="", digest=found.fetched.digest)
        source = PeerRepository(self._peers, pinned, found.holders, tuple)
        config = parse_config(await source.blob(manifest.config.digest, LIMIT))
        platform = Platform(config.architecture, config.os, config.variant)
        return replace(described, platforms=(platform,))


def _also(error: SampanError, found: Found) -> str:
    said = found.sentence()
    return f"{error}; {said}" if said else str(error)
