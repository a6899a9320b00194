"""Pulling from Debian's registry, and from one that misbehaves."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.errors import NotFound
from sampan.image import ImageService, open_images
from sampan.image.config import chain_id
from sampan.image.contract import BadLayer, Progress, RegistryFailed
from sampan.testing.registry import Registry, digest_of, image_config, layer_tar, manifest, registry
from sampan.testing.store import MemoryStore

BASE = layer_tar({"etc/": "", "etc/a": "1", "big": "x" * 300_000})
TOP = layer_tar({"etc/b": "2", "etc/.wh.a": ""})


def config(tmp_path: Path) -> DaemonConfig:
    return DaemonConfig(paths=Paths(tmp_path / "root", tmp_path / "state"))


class Hurried(SystemClock):
    """Does not wait between attempts."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ImageService]:
    async with open_images(config(tmp_path), MemoryStore(), Hurried()) as opened:
        yield opened
        for key in await opened.snapshots.keys():
            await opened.snapshots.remove(key)


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[Registry]:
    async with registry(tmp_path / "registry") as running:
        yield running


def nothing_left(tmp_path: Path) -> bool:
    return not any(os.listdir(tmp_path / "root" / name) for name in ("layers", "tmp", "blobs"))


async def test_pull_and_mount(service: ImageService, remote: Registry) -> None:
    image_id = await remote.put("demo/web:1", [BASE, TOP], run={"Cmd": ["sh"]})
    seen: list[Progress] = []
    image = await service.images.pull(f"{remote.url}/demo/web:1", report=seen.append)
    assert image.id == image_id
    assert service.images.config(image).cmd == ("sh",)
    assert service.images.tags(image.id) == [f"{remote.url}/demo/web:1"]
    (digest,) = service.images.digests(image.id)
    await service.snapshots.prepare("k", chain_id(image.layers))
    root = await service.snapshots.mount("k")
    assert os.listdir(root / "etc") == ["b"]
    said = [p.status for p in seen]
    assert said[0] == "Pulling from demo/web"
    assert seen[0].id == "1"
    for status in ("Pulling fs layer", "Verifying Checksum", "Download complete", "Extracting"):
        assert said.count(status) == 2, status
    assert said[-2] == f"Digest: {digest.partition('@')[2]}"
    assert said[-1] == f"Status: Downloaded newer image for {remote.url}/demo/web:1"
    # Again, and by its digest.
    seen.clear()
    await service.images.pull(f"{remote.url}/demo/web:1", report=seen.append)
    assert [p.status for p in seen].count("Already exists") == 2
    assert seen[-1].status == f"Status: Image is up to date for {remote.url}/demo/web:1"
    assert (await service.images.pull(digest)).id == image_id
    assert service.images.get(digest).id == image_id


async def test_two_pulls_of_one_layer_share_it(service: ImageService, remote: Registry) -> None:
    await remote.put("one:1", [BASE, TOP])
    await remote.put("two:1", [BASE])
    one, two = await asyncio.gather(
        service.images.pull(f"{remote.url}/one:1"), service.images.pull(f"{remote.url}/two:1")
    )
    assert one.layers[0] == two.layers[0]


async def test_no_such_tag(service: ImageService, remote: Registry, tmp_path: Path) -> None:
    await remote.put("one:1", [BASE])
    with pytest.raises(NotFound) as caught:
        await service.images.pull(f"{remote.url}/one:2")
    name = f"{remote.url}/one"
    assert str(caught.value) == (
        f"manifest for {name}:2 not found: manifest unknown: manifest unknown"
    )
    assert nothing_left(tmp_path)


async def test_nobody_listens(service: ImageService) -> None:
    with pytest.raises(
        RegistryFailed, match=r"127\.0\.0\.1:1: connect: connection refused"
    ) as caught:
        await service.images.pull("127.0.0.1:1/x")
    assert str(caught.value).startswith('Get "http://127.0.0.1:1/v2/": dial tcp')


async def test_push_and_pull_again(service: ImageService, remote: Registry, tmp_path: Path) -> None:
    await remote.put("one:1", [BASE, TOP])
    image = await service.images.pull(f"{remote.url}/one:1")
    service.images.tag(image.id, f"{remote.url}/other/place:2")
    seen: list[Progress] = []
    digest = await service.images.push(f"{remote.url}/other/place:2", report=seen.append)
    assert seen[-1].status.startswith(f"2: digest: {digest} size: ")
    for name in ("one:1", "other/place:2"):
        await service.images.remove(f"{remote.url}/{name}", in_use=lambda _: None)
    assert service.images.all() == []
    assert (await service.images.pull(f"{remote.url}/other/place:2")).id == image.id


# ---------------------------------------------------------------- one that misbehaves


class Hostile:
    """Serves one image and breaks the layer's delivery as told."""

    def __init__(self, deliver: Callable[[Hostile, web.Request], AsyncIterator[bytes]]) -> None:
        self.blob = gzip.compress(BASE, 0, mtime=0)
        self.config = image_config([BASE], {})
        self.deliver = deliver
        self.requests: list[str] = []
        self.port = 0
        self.length = len(self.blob)

    def manifest(self) -> bytes:
        config = (digest_of(self.config), len(self.config))
        return manifest(config, [(digest_of(self.blob), self.length)])

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "/manifests/" in request.path:
            return web.Response(body=self.manifest())
        if request.path.endswith(digest_of(self.config)):
            return web.Response(body=self.config)
        if "/blobs/" not in request.path:
            return web.Response()
        self.requests.append(request.headers.get("Range", ""))
        partial = bool(self.requests[-1])
        reply = web.StreamResponse(status=206 if partial else 200)
        start = int(self.requests[-1][6:-1]) if partial else 0
        reply.content_length = self.length - start
        await reply.prepare(request)
        async for chunk in self.deliver(self, request):
            await reply.write(chunk)
        assert request.transport is not None
        request.transport.close()
        return reply


@pytest.fixture
async def hostile() -> AsyncIterator[Callable[..., object]]:
    runners = []

    async def serve(deliver: Callable[[Hostile, web.Request], AsyncIterator[bytes]]) -> Hostile:
        server = Hostile(deliver)
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", server.handle)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.port = runner.addresses[0][1]
        return server

    yield serve
    for runner in runners:
        await runner.cleanup()


async def _hang_up_once(server: Hostile, request: web.Request) -> AsyncIterator[bytes]:
    if len(server.requests) == 1:
        yield server.blob[:100_000]
    else:
        yield server.blob[int(request.headers["Range"][6:-1]) :]


async def _hang_up_always(server: Hostile, request: web.Request) -> AsyncIterator[bytes]:
    if len(server.requests) == 1:
        yield server.blob[:100_000]


async def _wrong_bytes(server: Hostile, request: web.Request) -> AsyncIterator[bytes]:
    wrong = bytearray(server.blob)
    wrong[1000] ^= 1
    yield bytes(wrong)


async def _not_gzip(server: Hostile, request: web.Request) -> AsyncIterator[bytes]:
    yield b"x" * len(server.blob)


async def test_a_broken_connection_goes_on_where_it_stopped(
    service: ImageService,
    hostile,  # type: ignore[no-untyped-def]
) -> None:
    server = await hostile(_hang_up_once)
    image = await service.images.pull(f"127.0.0.1:{server.port}/x")
    assert image.layers == (digest_of(BASE),)
    assert server.requests == ["", "bytes=100000-"]


async def test_a_registry_that_keeps_hanging_up(
    service: ImageService,
    hostile,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    server = await hostile(_hang_up_always)
    with pytest.raises(RegistryFailed, match=r"broke off blob .* after 100000 of"):
        await service.images.pull(f"127.0.0.1:{server.port}/x")
    assert nothing_left(tmp_path)
    assert service.images.all() == []


@pytest.mark.parametrize("deliver", [_wrong_bytes, _not_gzip])
async def test_wrong_bytes_leave_nothing(
    service: ImageService,
    hostile,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    deliver: Callable[[Hostile, web.Request], AsyncIterator[bytes]],
) -> None:
    server = await hostile(deliver)
    with pytest.raises(BadLayer):
        await service.images.pull(f"127.0.0.1:{server.port}/x")
    assert nothing_left(tmp_path)


async def test_a_cancelled_pull_leaves_nothing(
    service: ImageService,
    hostile,  # type: ignore[no-untyped-def]
    tmp_path: Path,
) -> None:
    begun = asyncio.Event()

    async def stall(server: Hostile, request: web.Request) -> AsyncIterator[bytes]:
        yield server.blob[:100_000]
        begun.set()
        await asyncio.Event().wait()

    server = await hostile(stall)
    task = asyncio.get_running_loop().create_task(service.images.pull(f"127.0.0.1:{server.port}/x"))
    await asyncio.wait_for(begun.wait(), 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert nothing_left(tmp_path)
