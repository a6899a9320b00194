"""A whole API on fakes, in this process, with a cluster whose store is in memory."""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sampan.aio import SystemClock, Tasks
from sampan.api.front import docker_front
from sampan.cluster.control import events
from sampan.testing.cluster_store import MemoryCluster, MemoryStore
from sampan.testing.daemon import short_directory
from sampan.testing.fronts import listening
from sampan.testing.membership import FakeMembership
from sampan.testing.memory_engine import memory_engine
from sampan.testing.world import World


@dataclass
class Host:
    """One daemon's API, and what is behind it."""

    socket: Path
    http: aiohttp.ClientSession
    world: World
    hub: MemoryCluster
    store: MemoryStore
    member: FakeMembership

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        status: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """The answer's JSON. With ``status``, that and nothing else is right."""
        async with self.http.request(
            method, f"http://daemon{path}", json=body, headers=headers
        ) as answer:
            raw = await answer.read()
            if status is not None:
                assert answer.status == status, f"{method} {path}: {answer.status} {raw!r}"
            return await answer.json() if raw and raw != b"OK" else None

    async def docker(self, *lines: str, stdin: bytes = b"", ok: bool = True) -> str:
        """Standard output of the real command, which is written as in a shell; with ``ok`` False,
        standard error of one that must fail."""
        arguments = [word for line in lines for word in shlex.split(line)]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("DOCKER_")}
        environ |= {
            "DOCKER_HOST": f"unix://{self.socket}",
            "DOCKER_CONFIG": str(self.socket.parent / "docker-config"),
        }
        process = await asyncio.create_subprocess_exec(
            "docker",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environ,
        )
        out, err = await asyncio.wait_for(process.communicate(stdin), 60)
        assert (process.returncode == 0) == ok, f"{arguments}: {out!r} {err!r}"
        return (out if ok else err).decode()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    """In no cluster yet."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        base = Path(stack.enter_context(short_directory()))
        hub = await stack.enter_async_context(MemoryCluster(clock))
        store = await hub.store()
        member = FakeMembership(store, clock)
        services, world = await stack.enter_async_context(memory_engine(base, cluster=member))
        background = Tasks()
        stack.push_async_callback(background.close)
        background.spawn(events.publish(store, world.events), name="events")
        path = base / "api.sock"
        await stack.enter_async_context(listening(docker_front(services), path))
        http = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(path=str(path)))
        )
        yield Host(path, http, world, hub, store, member)


@pytest.fixture
async def manager(host: Host) -> Host:
    """The first and only manager of a new cluster."""
    await host.ask("POST", "/swarm/init", {"ListenAddr": "0.0.0.0:2377"}, status=200)
    return host
