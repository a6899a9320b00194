"""Who changes something is answered when the disk has it; who reads is answered at once."""

from __future__ import annotations

import asyncio
import json
from typing import Any


async def test_a_change_is_answered_when_it_is_on_disk(host: Any) -> None:
    world = host.world
    world.store.disk.clear()
    create = world.spawn(host.ask("POST", "/volumes/create", {"Name": "data"}, status=201))
    await world.until(lambda: world.store.waiting)
    listed = await host.ask("GET", "/volumes", status=200)
    assert [one["Name"] for one in listed["Volumes"]] == ["data"]
    assert await host.ask("GET", "/_ping", status=200) is None
    assert not create.done()
    world.store.disk.set()
    assert (await create)["Name"] == "data"


async def test_a_change_that_the_disk_refused_is_an_error_that_says_so(host: Any) -> None:
    world = host.world
    world.store.disk.clear()
    create = world.spawn(host.ask("POST", "/volumes/create", {"Name": "data"}, status=500))
    await world.until(lambda: world.store.waiting)
    world.store.failed = True
    world.store.disk.set()
    assert "restart" in (await create)["message"]
    refused = await host.ask("POST", "/volumes/create", {"Name": "more"}, status=500)
    assert "restart" in refused["message"]
    await host.ask("GET", "/volumes", status=200)
    world.store.failed = False


async def test_a_streamed_answer_says_nothing_that_is_not_on_disk(host: Any) -> None:
    world = host.world
    container = await world.run("forever")
    async with host.http.post(f"http://daemon/containers/{container.id}/wait") as answer:
        world.store.disk.clear()
        world.runs.finish(container.id, 3)
        line = world.spawn(answer.content.readline())
        await world.until(lambda: world.store.waiting)
        assert not line.done()
        world.store.disk.set()
        assert json.loads(await line)["StatusCode"] == 3
    await world.still()


async def test_nobody_hears_of_what_is_not_on_disk(host: Any) -> None:
    world = host.world
    async with host.http.get("http://daemon/events") as events:
        world.store.disk.clear()
        line = world.spawn(events.content.readline())
        create = world.spawn(host.ask("POST", "/networks/create", {"Name": "lake"}, status=201))
        await world.until(lambda: world.store.waiting == 2)
        await asyncio.sleep(0)
        assert not line.done()
        world.store.disk.set()
        assert json.loads(await line)["Action"] == "create"
        await create
