"""Images go from node to node, and tell what they are pinned to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import replace
from pathlib import Path

import pytest
from images_hosts import BASE, TOP, Hosts, Spoiled

from sampan.aio import SystemClock
from sampan.cluster.images.fetch import NobodyHasIt, OutOfReach
from sampan.cluster.images.peers import PeerRepository, Peers
from sampan.cluster.peer.contract import PeerRequest, Reply
from sampan.errors import NotFound
from sampan.image.config import chain_id
from sampan.image.contract import RegistryFailed
from sampan.image.reference import parse
from sampan.testing.registry import digest_of, registry

NOWHERE = "127.0.0.1:1"
"""A registry that refuses connections."""


async def test_what_was_built_on_one_host_runs_on_another(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    image_id = await one.build("web:1", [BASE, TOP], {"Cmd": ["sh"]})
    pinned = await one.pinned("web:1")
    said: list[str] = []
    assert await hosts.provide(two, pinned, said) == image_id
    digest = pinned.partition("@")[2]
    images = two.service.images
    assert images.tags(image_id) == ["web:1"]
    assert images.digests(image_id) == [f"web@{digest}"]
    assert images.get(pinned).id == image_id
    assert images.config(images.get("web:1")).cmd == ("sh",)
    key = chain_id(images.get("web:1").layers)
    await two.service.snapshots.prepare("k", key)
    root = await two.service.snapshots.mount("k")
    assert os.listdir(root / "etc") == ["b"]
    await two.service.snapshots.remove("k")
    assert said[0].startswith("looking for web@sha256:")
    # Everybody says the same of it, and the next task finds it here.
    assert await two.pinned("web:1") == pinned
    before = len(one.asked)
    assert await hosts.provide(two, pinned) == image_id
    assert await hosts.provide(two, "web:1") == image_id
    assert len(one.asked) == before


async def test_its_own_host_knows_it_by_the_digest_too(hosts: Hosts) -> None:
    one = await hosts.add()
    image_id = await one.build("web:1", [BASE])
    pinned = await one.pinned("web:1")
    assert one.service.images.digests(image_id) == []
    assert await hosts.provide(one, pinned) == image_id
    assert one.service.images.get(pinned).id == image_id
    assert await hosts.provide(one, image_id) == image_id


async def test_a_name_alone_is_found_where_no_registry_answers(hosts: Hosts) -> None:
    one, two, three = [await hosts.add() for _ in range(3)]
    name = f"{NOWHERE}/team/web:1"
    image_id = await one.build(name, [BASE])
    assert await hosts.provide(two, name) == image_id
    assert two.service.images.tags(image_id) == [name]
    one.asked.clear()
    two.asked.clear()
    assert await hosts.provide(three, name) == image_id
    assert one.blobs or two.blobs


async def test_layers_that_are_here_are_not_fetched(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    await one.build("base:1", [BASE])
    await one.build("web:1", [BASE, TOP])
    await hosts.provide(two, await one.pinned("base:1"))
    one.asked.clear()
    await hosts.provide(two, await one.pinned("web:1"))
    assert digest_of(TOP) in one.blobs
    assert digest_of(BASE) not in one.blobs


async def test_tasks_that_wait_share_one_transfer(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    image_id = await one.build("web:1", [BASE, TOP])
    pinned = await one.pinned("web:1")
    found = await asyncio.gather(*(hosts.provide(two, pinned) for _ in range(20)))
    assert set(found) == {image_id}
    assert sorted(one.blobs) == sorted([image_id, digest_of(BASE), digest_of(TOP)])


async def test_two_images_share_the_transfer_of_a_layer(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    await one.build("a:1", [BASE])
    await one.build("b:1", [BASE, TOP])
    await asyncio.gather(
        hosts.provide(two, await one.pinned("a:1")), hosts.provide(two, await one.pinned("b:1"))
    )
    assert one.blobs.count(digest_of(BASE)) == 1


async def test_who_gives_up_does_not_stop_the_others(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    image_id = await one.build("web:1", [BASE])
    pinned = await one.pinned("web:1")
    go, begun = asyncio.Event(), asyncio.Event()

    async def hold(request: PeerRequest, reply: Reply) -> Reply | None:
        if digest_of(BASE) in request.path:
            begun.set()
            await go.wait()
        return None

    one.spoil = hold
    loop = asyncio.get_running_loop()
    first, second = [
        loop.create_task(hosts.provide(two, pinned), name=str(number)) for number in range(2)
    ]
    await begun.wait()
    first.cancel()
    await asyncio.wait({first})
    go.set()
    assert await second == image_id
    # The last one stops it, and nothing is left.
    await two.service.images.remove("web:1", in_use=lambda _: None)
    go.clear()
    begun.clear()
    third = loop.create_task(hosts.provide(two, pinned), name="third")
    await begun.wait()
    third.cancel()
    await asyncio.wait({third})
    assert not [name for name in two.left()["tmp"] if name.startswith("layer-")]
    go.set()
    assert await hosts.provide(two, pinned) == image_id


# ---------------------------------------------------------------- failures


def broken_after(reply: Reply, count: int) -> Reply:
    async def chunks(body: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        sent = 0
        async for chunk in body:
            yield chunk[: count - sent]
            sent += len(chunk)
            if sent >= count:
                raise ConnectionResetError("cut")

    return replace(reply, body=Spoiled(reply, chunks))


async def test_another_node_goes_on_where_one_broke_off(hosts: Hosts) -> None:
    one, two, three = [await hosts.add() for _ in range(3)]
    image_id = await one.build("web:1", [BASE])
    pinned = await one.pinned("web:1")
    await hosts.provide(two, pinned)

    async def cut(request: PeerRequest, reply: Reply) -> Reply | None:
        if digest_of(BASE) not in request.path or "range" in request.headers:
            return None
        return broken_after(reply, 1_000_000)

    one.spoil = two.spoil = cut
    one.asked.clear()
    two.asked.clear()
    assert await hosts.provide(three, pinned) == image_id
    ranges = [bytes_ for _, _, bytes_ in one.asked + two.asked if bytes_]
    assert ranges == ["bytes=1000000-"]


async def test_who_falls_silent_is_given_up(hosts: Hosts) -> None:
    """The power went: nothing comes any more, not even the end."""
    one, two, three = [await hosts.add() for _ in range(3)]
    await one.build("web:1", [BASE])
    pinned = await one.pinned("web:1")
    await hosts.provide(two, pinned)

    async def silent(body: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        async for chunk in body:
            yield chunk
            await asyncio.Event().wait()

    async def first(request: PeerRequest, reply: Reply) -> Reply | None:
        if digest_of(BASE) not in request.path or "range" in request.headers:
            return None
        return replace(reply, body=Spoiled(reply, silent))

    one.spoil = two.spoil = first
    peers = Peers(three.peer.client, SystemClock(), stall_s=3.0)  # an honest worker starts in less
    holders = [one.source, two.source]
    source = PeerRepository(peers, parse(pinned), holders, tuple)
    got = b"".join([chunk async for chunk in source.stream(digest_of(BASE), len(BASE))])
    assert digest_of(got) == digest_of(BASE)


async def test_all_broke_off(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    await one.build("web:1", [BASE])
    pinned = await one.pinned("web:1")

    async def cut(request: PeerRequest, reply: Reply) -> Reply | None:
        if "/blobs/" not in request.path or isinstance(reply.body, bytes):
            return None
        return broken_after(reply, 500_000)

    one.spoil = cut
    pinned = pinned.replace("web", f"{NOWHERE}/web")
    with pytest.raises(OutOfReach, match="broke off"):
        await hosts.provide(two, pinned)
    assert two.left() == {"layers": [], "tmp": [], "blobs": []}
    one.spoil = None
    await hosts.provide(two, pinned)


async def test_wrong_bytes_are_thrown_away_and_fetched_elsewhere(hosts: Hosts) -> None:
    good, bad, three = [await hosts.add() for _ in range(3)]
    image_id = await good.build("web:1", [BASE, TOP])
    pinned = await good.pinned("web:1")
    await hosts.provide(bad, pinned)

    async def turned(body: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
        async for chunk in body:
            yield bytes(len(chunk) - 1) + b"!"

    async def lie(request: PeerRequest, reply: Reply) -> Reply | None:
        layer = digest_of(BASE) in request.path or digest_of(TOP) in request.path
        return replace(reply, body=Spoiled(reply, turned)) if layer else None

    bad.spoil = lie
    for _ in range(4):  # whom it asks first is left to chance
        assert await hosts.provide(three, pinned) == image_id
        await three.service.images.remove("web:1", in_use=lambda _: None)
    good.spoil = lie
    with pytest.raises(OutOfReach, match=r"does not match|verification failed|invalid tar"):
        await hosts.provide(three, pinned.replace("web", f"{NOWHERE}/web"))
    assert three.left()["layers"] == three.left()["tmp"] == []


async def test_a_manifest_of_another_digest_is_refused(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    await one.build("web:1", [BASE])
    await one.build("evil:1", [TOP])
    pinned = (await one.pinned("web:1")).replace("web", f"{NOWHERE}/web")
    evil = (await one.service.peer_blobs.manifest(parse("evil:1"))) or pytest.fail("no manifest")

    async def lie(request: PeerRequest, reply: Reply) -> Reply | None:
        return Reply(body=evil.body) if "/manifests/" in request.path else None

    one.spoil = lie
    with pytest.raises(OutOfReach):
        await hosts.provide(two, pinned)
    assert two.service.images.all() == []


async def test_who_is_busy_is_asked_again(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    image_id = await one.build("web:1", [BASE])
    pinned = await one.pinned("web:1")
    refusals = iter(range(2))

    async def busy(request: PeerRequest, reply: Reply) -> Reply | None:
        if digest_of(BASE) in request.path and next(refusals, None) is not None:
            return Reply(status=429, body=b"busy")
        return None

    one.spoil = busy
    assert await hosts.provide(two, pinned) == image_id
    assert one.blobs.count(digest_of(BASE)) == 3


async def test_nobody_has_it(hosts: Hosts) -> None:
    one, two, three = [await hosts.add() for _ in range(3)]
    name = f"{NOWHERE}/web:1"
    with pytest.raises(NobodyHasIt) as caught:
        await hosts.provide(one, name)
    assert str(caught.value) == (
        f"No such image: {name}: not on this node, registry {NOWHERE} said: "
        f'Get "http://{NOWHERE}/v2/": dial tcp {NOWHERE}: connect: connection refused, '
        f"not on {two.name}, {three.name}"
    )


async def test_a_node_that_does_not_answer_may_have_it(hosts: Hosts) -> None:
    one, two, three = [await hosts.add() for _ in range(3)]
    three.peer.started = False
    with pytest.raises(OutOfReach, match=r"not on host2; host3 does not answer"):
        await hosts.provide(one, f"{NOWHERE}/web:1")
    assert two.asked


# ---------------------------------------------------------------- names


async def test_a_name_that_a_person_gave_stays(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    theirs = await one.build("web:1", [BASE])
    ours = await two.build("web:1", [TOP])
    pinned = await one.pinned("web:1")
    assert await hosts.provide(two, pinned) == theirs
    assert two.service.images.get("web:1").id == ours
    assert two.service.images.get(pinned).id == theirs


async def test_a_name_that_a_task_brought_follows_the_service(hosts: Hosts) -> None:
    one, two = await hosts.add(), await hosts.add()
    await one.build("web:1", [BASE])
    await hosts.provide(two, await one.pinned("web:1"))
    newer = await one.build("web:1", [BASE, TOP])
    assert await hosts.provide(two, await one.pinned("web:1")) == newer
    assert two.service.images.get("web:1").id == newer


# ---------------------------------------------------------------- with a registry


async def test_what_a_registry_said_is_proven_without_it(hosts: Hosts, tmp_path: Path) -> None:
    one, two, three = [await hosts.add() for _ in range(3)]
    async with registry(tmp_path / "registry") as remote:
        image_id = await remote.put("web:1", [BASE, TOP])
        name = f"{remote.url}/web:1"
        pinned = await one.pinned(name)
        assert await hosts.provide(one, pinned) == image_id
    digest = pinned.partition("@")[2]
    # The registry is gone.
    assert await hosts.provide(two, pinned) == image_id
    assert two.service.images.digests(image_id) == [f"{remote.url}/web@{digest}"]
    one.peer.started = False
    assert await hosts.provide(three, pinned) == image_id
    one.peer.started = True
    # Pinning goes on too: by what is here, or by what another node has.
    assert await three.pinned(name) == pinned
    four = await hosts.add()
    assert await four.pinned(name) == pinned


async def test_describe(hosts: Hosts, tmp_path: Path) -> None:
    one, two = await hosts.add(), await hosts.add()
    await one.build(f"{NOWHERE}/web:1", [BASE])
    reference = parse(f"{NOWHERE}/web:1")
    here = await one.travelling.describe(reference, None)
    assert here.media_type == "application/vnd.oci.image.manifest.v1+json"
    assert [str(each) for each in here.platforms] == ["linux/amd64"]
    there = await two.travelling.describe(reference, None)
    assert there == here
    with pytest.raises(RegistryFailed, match=r"connection refused; not on host2"):
        await one.travelling.describe(parse(f"{NOWHERE}/other"), None)
    async with registry(tmp_path / "registry") as remote:
        with pytest.raises(NotFound, match="manifest unknown"):
            await one.travelling.describe(parse(f"{remote.url}/other"), None)
        # The registry's word goes before what came from it a while ago.
        await remote.put("web:1", [BASE])
        await one.service.images.pull(f"{remote.url}/web:1")
        await remote.put("web:1", [TOP])
        newer = await one.travelling.describe(parse(f"{remote.url}/web:1"), None)
        assert newer.digest not in str(one.service.images.digests)
        assert newer == await two.travelling.describe(parse(f"{remote.url}/web:1"), None)


async def test_outside_of_a_cluster_only_registries_describe(hosts: Hosts) -> None:
    one = await hosts.add()
    await one.build(f"{NOWHERE}/web:1", [BASE])
    await one.travelling.leave()
    with pytest.raises(RegistryFailed):
        await one.travelling.describe(parse(f"{NOWHERE}/web:1"), None)
