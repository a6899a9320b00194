"""Docker's routes over two engines: the same routes on another ``EngineLike``."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sampan.aio import SystemClock, Tasks
from sampan.api.front import docker_front
from sampan.testing.daemon import short_directory
from sampan.testing.fronts import listening
from sampan.testing.many_engines import ManyEngines, as_engine
from sampan.testing.memory_engine import memory_engine
from sampan.testing.world import World


@dataclass
class Two:
    """A front over two hosts, and the hosts."""

    socket: Path
    http: aiohttp.ClientSession
    worlds: dict[str, World]

    async def ask(self, method: str, path: str, body: object = None, *, status: int = 200) -> Any:
        async with self.http.request(method, f"http://many{path}", json=body) as answer:
            raw = await answer.read()
            assert answer.status == status, f"{method} {path}: {answer.status} {raw!r}"
            return json.loads(raw) if raw else None

    async def names(self) -> set[str]:
        rows = await self.ask("GET", "/containers/json?all=1")
        return {name for row in rows for name in row["Names"]}


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        base = Path(stack.enter_context(short_directory()))
        engines, worlds = {}, {}
        for node in ("one", "two"):
            (base / node).mkdir()
            engines[node], worlds[node] = await stack.enter_async_context(
                memory_engine(base / node)
            )
        many = ManyEngines(engines, SystemClock())
        stack.push_async_callback(many.tasks.close)
        background = Tasks()
        stack.push_async_callback(background.close)
        for node in engines:
            background.spawn(many.follow(node), name=f"follow/{node}")
        await stack.enter_async_context(
            listening(docker_front(as_engine(many)), base / "many.sock")
        )
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(base / "many.sock")))
        )
        yield Two(base / "many.sock", http, worlds)


async def test_new_containers_are_spread_and_named_by_their_node(two: Two) -> None:
    # names that no id begins with: "c1" may be the beginning of another container's
    body = {"Image": "busybox", "Cmd": ["forever"]}
    made = [
        (await two.ask("POST", f"/containers/create?name=box{n}", body, status=201))["Id"]
        for n in range(4)
    ]
    assert await two.names() == {"/one/box0", "/two/box1", "/one/box2", "/two/box3"}
    for world in two.worlds.values():
        assert len(world.engine.all()) == 2
    # by node and name, by the name alone, and by id
    for ref in ("two/box1", "box1", made[1], made[1][:12]):
        found = await two.ask("GET", f"/v1.51/containers/{ref}/json")
        assert (found["Id"], found["Name"]) == (made[1], "/two/box1")
        assert "/two/" in found["HostnamePath"]
    await two.ask("GET", "/containers/one/box1/json", status=404)
    taken = await two.ask("POST", "/containers/create?name=box1", body, status=409)
    assert 'name "/box1" is already in use' in taken["message"]


async def test_a_containers_life_is_on_its_own_host(two: Two) -> None:
    body = {"Image": "busybox", "Cmd": ["forever"]}
    for name in ("aa", "bb"):
        await two.ask("POST", f"/containers/create?name={name}", body, status=201)
    await two.ask("POST", "/containers/two/bb/start", status=204)
    assert not two.worlds["one"].engine.get("aa").running
    assert two.worlds["two"].engine.get("bb").running
    await two.ask("POST", "/containers/bb/kill", status=204)
    assert (await two.ask("POST", "/containers/two/bb/wait"))["StatusCode"] == 137
    await two.ask("DELETE", "/containers/two/bb", status=204)
    await two.ask("DELETE", "/containers/one/aa", status=204)
    assert await two.names() == set()


async def test_networks_volumes_images_and_info_are_of_all(two: Two) -> None:
    for name in ("n1", "n2"):
        await two.ask("POST", "/networks/create", {"Name": name}, status=201)
    listed = {one["Name"] for one in await two.ask("GET", "/networks")}
    assert {"n1", "n2", "bridge"} <= listed
    await two.ask("POST", "/volumes/create", {"Name": "vol"}, status=201)
    assert [v["Name"] for v in (await two.ask("GET", "/volumes"))["Volumes"]] == ["vol"]
    assert [i["RepoTags"] for i in await two.ask("GET", "/images/json")] == [["busybox:latest"]]
    for world in two.worlds.values():
        await world.run("forever", name="boat")
    info = await two.ask("GET", "/info")
    assert (info["Name"], info["ContainersRunning"]) == ("many", 2)
    assert info["DriverStatus"][0] == ["Nodes", "2"]
    # one image, used on both
    refused = await two.ask("DELETE", "/images/busybox", status=409)
    assert "is using its referenced image" in refused["message"]
    ambiguous = await two.ask("GET", "/containers/boat/json", status=409)
    assert "boat is on one and two" in ambiguous["message"]


async def test_events_of_both_hosts_come_over_one_feed(two: Two) -> None:
    async with two.http.get("http://many/events") as events:
        for node, world in two.worlds.items():
            await world.create("forever", name="boat")
            told = json.loads(await events.content.readline())
            assert told["Action"] == "create"
            assert told["Actor"]["Attributes"]["name"] == f"{node}/boat"
            assert told["Actor"]["Attributes"]["node.name"] == node


@pytest.mark.skipif(shutil.which("docker") is None, reason="needs the docker command")
async def test_the_docker_command(two: Two) -> None:
    async def docker(*arguments: str) -> str:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_")}
        environ |= {
            "DOCKER_HOST": f"unix://{two.socket}",
            "DOCKER_CONFIG": str(two.socket.parent / "config"),
        }
        process = await asyncio.create_subprocess_exec(
            "docker", *arguments, env=environ, stdout=-1, stderr=-1
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, err
        return out.decode()

    for name in ("aa", "bb"):
        await docker("run", "-d", "--name", name, "busybox", "forever")
    shown = await docker("ps", "--format", "{{.Names}}")
    assert sorted(shown.split()) == ["one/aa", "two/bb"]
    assert (await docker("inspect", "-f", "{{.Name}} {{.State.Running}}", "two/bb")).split() == [
        "/two/bb",
        "true",
    ]
    await docker("stop", "-t", "0", "one/aa")
    assert (await docker("ps", "--format", "{{.Names}}")).split() == ["two/bb"]
    await docker("rm", "-f", "one/aa", "two/bb")
    assert await docker("ps", "-aq") == ""
