"""The routes themselves, over TLS and as any client of the OCI distribution protocol sees them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import replace
from pathlib import Path

import pytest
from images_hosts import BASE, TOP, Host, Hosts, Spoiled, archive

from sampan.aio import SystemClock, Tasks, outcome
from sampan.cluster.images.contract import PeerSource
from sampan.cluster.images.images import ClusterImages
from sampan.cluster.images.registries import REMEMBERED_S, Registries
from sampan.cluster.peer.client import PeerClient
from sampan.cluster.peer.contract import Incoming, NodeRole, PeerRequest, Reply
from sampan.cluster.peer.server import PeerServer
from sampan.cluster.peer.tls import Tls, trusting
from sampan.config import DaemonConfig, Paths
from sampan.errors import Forbidden, InvalidArgument, NotFound
from sampan.image import open_images
from sampan.image.contract import RegistryFailed
from sampan.testing.certificates import Issuer
from sampan.testing.clock import FakeClock, settle
from sampan.testing.registry import digest_of
from sampan.testing.store import MemoryStore

NAME = "/v2/docker.io/library/web"


async def test_over_tls(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path / "ca")
    roles: dict[str, NodeRole] = {"one": "manager", "two": "worker"}
    tls = {name: Tls(issuer.credentials(name, role)) for name, role in roles.items()}
    server, client = PeerServer(tls["one"], roles.get), PeerClient(tls["two"])
    stranger = PeerClient(anonymous=trusting(issuer.roots, issuer.cluster_id))
    clock = SystemClock()

    def config(name: str) -> DaemonConfig:
        return DaemonConfig(paths=Paths(tmp_path / name / "root", tmp_path / name / "state"))

    async with (
        open_images(config("one"), MemoryStore(), clock) as one,
        open_images(config("two"), MemoryStore(), clock) as two,
    ):
        there, here = ClusterImages(one.peer_blobs, clock), ClusterImages(two.peer_blobs, clock)
        there.register(server)
        here.join(client, tuple)
        await server.start("127.0.0.1", 0)
        try:
            await one.images.load(archive("127.0.0.1:1/web:1", [BASE, TOP], {}))
            address = f"127.0.0.1:{server.port}"
            found = await here.provide(
                "127.0.0.1:1/web:1", sources=lambda: [PeerSource("one", address)]
            )
            assert found == one.images.get("127.0.0.1:1/web:1").id
            path = f"/v2/127.0.0.1:1/web/blobs/{found}"
            with pytest.raises(Forbidden):
                async with stranger.stream(address, "GET", path, role=None):
                    pass
        finally:
            await here.leave()
            await client.close()
            await stranger.close()
            await server.stop()


@pytest.fixture
async def host(hosts: Hosts) -> Host:
    one = await hosts.add()
    await one.build("web:1", [BASE, TOP])
    return one


@pytest.fixture
async def other(hosts: Hosts, host: Host) -> Host:
    return await hosts.add()


async def test_manifest_head_and_range(host: Host, other: Host) -> None:
    async def ask(method: str, path: str, **headers: str) -> tuple[Incoming, bytes]:
        async with other.peer.client.stream(
            host.source.address, method, path, role=None, headers=headers
        ) as incoming:
            return incoming, await incoming.read()

    head, nothing = await ask("HEAD", f"{NAME}/manifests/1")
    found, body = await ask("GET", f"{NAME}/manifests/1")
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    assert nothing == b""
    for each in (head, found):
        assert each.headers["docker-content-digest"] == digest
        assert each.headers["content-length"] == str(len(body))
    manifest = json.loads(body)
    assert [layer["digest"] for layer in manifest["layers"]] == [digest_of(BASE), digest_of(TOP)]
    assert [layer["size"] for layer in manifest["layers"]] == [len(BASE), len(TOP)]
    for which in (digest, manifest["config"]["digest"]):
        assert (await ask("GET", f"{NAME}/manifests/{which}"))[1] == body
    blob = f"{NAME}/blobs/{digest_of(TOP)}"
    head, nothing = await ask("HEAD", blob)
    assert (nothing, head.headers["content-length"]) == (b"", str(len(TOP)))
    found, body = await ask("GET", blob)
    assert (found.status, body) == (200, TOP)
    found, body = await ask("GET", blob, range="bytes=700000-")
    assert (found.status, body) == (206, TOP[700_000:])
    assert found.headers["content-range"] == f"bytes 700000-{len(TOP) - 1}/{len(TOP)}"
    with pytest.raises(InvalidArgument):
        await ask("GET", blob, range=f"bytes={len(TOP)}-")
    for missing in ("manifests/2", f"manifests/{digest_of(b'')}", f"blobs/{digest_of(b'')}"):
        with pytest.raises(NotFound):
            await ask("GET", f"{NAME}/{missing}")


async def test_saved_archives_have_the_same_digest(host: Host, tmp_path: Path) -> None:
    saved = b"".join([chunk async for chunk in host.service.images.save(["web:1"])])
    digest = (await host.pinned("web:1")).partition("@")[2]
    assert digest.encode() in saved


async def test_only_so_many_layers_go_out_at_once(host: Host, other: Host) -> None:
    blob = f"{NAME}/blobs/{digest_of(BASE)}"

    async def first_piece(go: asyncio.Event, begun: asyncio.Semaphore) -> int:
        async with other.peer.client.stream(
            host.source.address, "GET", blob, role=None
        ) as incoming:
            chunks = incoming.chunks()
            await anext(chunks, b"")
            begun.release()
            await go.wait()
            return incoming.status

    go, begun = asyncio.Event(), asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()
    taken = [loop.create_task(first_piece(go, begun), name="taker") for _ in range(5)]
    for _ in taken:
        await begun.acquire()
    go.set()
    assert sorted([await each for each in taken]) == [200, 200, 200, 200, 429]
    # Whoever leaves in the middle makes room.
    assert await first_piece(go, begun) == 200


async def test_an_image_that_goes_while_it_is_sent(hosts: Hosts, host: Host, other: Host) -> None:
    """What is on its way stays until it has been sent."""
    gone = asyncio.Event()

    async def then_remove(body: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        async for chunk in body:
            yield chunk
            if not gone.is_set():
                gone.set()
                await host.service.images.remove("web:1", in_use=lambda _: None)

    async def spoil(request: PeerRequest, reply: Reply) -> Reply | None:
        if digest_of(BASE) in request.path:
            return replace(reply, body=Spoiled(reply, then_remove))
        return None

    pinned = await host.pinned("web:1")
    await hosts.provide(other, pinned)
    third = await hosts.add()
    host.spoil = spoil
    assert await hosts.provide(third, pinned) == other.service.images.get("web:1").id


async def test_a_registry_that_does_not_answer_is_not_asked_again_at_once() -> None:
    clock = FakeClock()
    registries = Registries(clock)
    asked = 0

    async def question() -> str:
        nonlocal asked
        asked += 1
        raise RegistryFailed("no such host")

    for _ in range(3):
        with pytest.raises(RegistryFailed, match="no such host"):
            await registries.ask("r", question)
    assert asked == 1
    await clock.advance(REMEMBERED_S + 1)
    with pytest.raises(RegistryFailed, match="no such host"):
        await registries.ask("r", question)
    assert asked == 2


@pytest.mark.parametrize(
    ("offered_after", "patience"), [(0.0, 1.0), (2.0, 3.0), (4.5, 5.0), (None, 5.0), (60.0, 5.0)]
)
async def test_less_patience_with_a_registry_when_another_node_has_it(
    offered_after: float | None, patience: float
) -> None:
    clock, tasks = FakeClock(), Tasks()

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    async def offered() -> bool:
        await clock.sleep(offered_after or 0.0)
        return offered_after is not None

    asking = tasks.spawn(outcome(Registries(clock).ask("r", never, offered)), name="ask")
    await settle()
    await clock.advance(patience - 0.01)
    assert not asking.done()
    await clock.advance(0.01)
    with pytest.raises(RegistryFailed, match=rf"did not answer within {patience:g} s"):
        asking.result().value()
    await tasks.close()
