"""Hosts with real image stores, joined by links in memory that tests can spoil."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sampan.aio import SystemClock
from sampan.cluster.images.contract import PeerSource
from sampan.cluster.images.images import ClusterImages
from sampan.cluster.peer.contract import Allow, Handler, Identity, NodeRole, PeerRequest, Reply
from sampan.config import DaemonConfig, Paths
from sampan.image import ImageService, open_images
from sampan.image.reference import parse
from sampan.testing.peers import PeerHub
from sampan.testing.registry import image_config, layer_tar
from sampan.testing.store import MemoryStore

BASE = layer_tar({"etc/": "", "etc/a": "1", "big": "x" * 3_000_000})
TOP = layer_tar({"etc/b": "2", "etc/.wh.a": "", "more": "y" * 700_000})

Spoil = Callable[[PeerRequest, Reply], Awaitable[Reply | None]]
"""May give another reply than the right one; None: that one."""


class Spoiled:
    """A reply's body, made into another one by ``change``."""

    def __init__(
        self, reply: Reply, change: Callable[[AsyncIterable[bytes]], AsyncGenerator[bytes, None]]
    ) -> None:
        assert not isinstance(reply.body, bytes)
        self._inner: Any = reply.body
        self._changed = change(self._inner)

    def __aiter__(self) -> AsyncGenerator[bytes, None]:
        return self._changed

    async def aclose(self) -> None:
        await self._changed.aclose()
        await self._inner.aclose()


class Routed:
    """A ``Server`` that writes down what is asked, and may spoil the answer."""

    def __init__(self, host: Host) -> None:
        self.host = host

    def route(self, method: str, path: str, handler: Handler, *, allow: Allow) -> None:
        async def answer(request: PeerRequest) -> Reply:
            self.host.asked.append((request.method, request.path, request.headers.get("range", "")))
            reply = await handler(request)
            if self.host.spoil is not None:
                return await self.host.spoil(request, reply) or reply
            return reply

        self.host.peer.server.route(method, path, answer, allow=allow)


class Host:
    """One node."""

    def __init__(self, name: str, number: int, hub: PeerHub, root: Path) -> None:
        self.name = name
        self.root = root
        address = f"10.0.0.{number}:2377"
        self.peer = hub.node(address, Identity(name, "worker", "c"), self._role)
        self.source = PeerSource(name, address, name)
        self.asked: list[tuple[str, str, str]] = []
        self.spoil: Spoil | None = None
        self.service: ImageService
        self.travelling: ClusterImages

    @staticmethod
    def _role(node_id: str) -> NodeRole | None:
        return "worker"

    @property
    def blobs(self) -> list[str]:
        """Layers and configs that were asked of it, in order."""
        return [path.rpartition("/")[2] for _, path, _ in self.asked if "/blobs/" in path]

    def left(self) -> dict[str, list[str]]:
        """What is on its disk."""
        return {name: os.listdir(self.root / "root" / name) for name in ("layers", "tmp", "blobs")}

    async def build(
        self, name: str, layers: Sequence[bytes], run: Mapping[str, object] | None = None
    ) -> str:
        """An image that no registry knows. Returns its id."""
        await self.service.images.load(archive(name, layers, run or {}))
        return self.service.images.get(name).id

    async def pinned(self, name: str) -> str:
        """``name@digest``, as a service made on this host is told."""
        found = await self.travelling.describe(parse(name), None)
        return f"{name}@{found.digest}"


class Hosts:
    """As many as wanted; every one knows every other."""

    def __init__(self, directory: Path, hub: PeerHub, stack: AsyncExitStack) -> None:
        self.all: list[Host] = []
        self._directory = directory
        self._hub = hub
        self._stack = stack

    async def add(self) -> Host:
        name = f"host{len(self.all) + 1}"
        host = Host(name, len(self.all) + 1, self._hub, self._directory / name)
        config = DaemonConfig(paths=Paths(host.root / "root", host.root / "state"))
        clock = SystemClock()
        opening = open_images(config, MemoryStore(), clock)
        host.service = await self._stack.enter_async_context(opening)
        host.travelling = ClusterImages(host.service.peer_blobs, clock)
        self._stack.push_async_callback(host.travelling.leave)
        host.travelling.register(Routed(host))  # type: ignore[arg-type]  # only its routes
        host.travelling.join(host.peer.client, lambda: self.but(host))
        host.peer.start()
        self.all.append(host)
        return host

    def but(self, host: Host) -> list[PeerSource]:
        return [other.source for other in self.all if other is not host]

    async def provide(self, host: Host, reference: str, said: list[str] | None = None) -> str:
        heard: list[str] = said if said is not None else []
        return await host.travelling.provide(
            reference, sources=lambda: self.but(host), progress=heard.append
        )


async def archive(
    name: str, layers: Sequence[bytes], run: Mapping[str, object]
) -> AsyncIterator[bytes]:
    """A ``docker save`` archive."""
    out = io.BytesIO()
    members = {f"{number}.tar": layer for number, layer in enumerate(layers)}
    listed = [{"Config": "config.json", "RepoTags": [name], "Layers": list(members)}]
    members["config.json"] = image_config(layers, run)
    members["manifest.json"] = json.dumps(listed).encode()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, body in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    yield out.getvalue()
