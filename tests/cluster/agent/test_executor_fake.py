"""The fake executor, and the engine's on an engine of fakes, keep to the same contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest

from sampan.cluster.agent.contract import Executor
from sampan.cluster.agent.executor import EngineExecutor
from sampan.cluster.images.contract import PeerSource
from sampan.image.contract import Images
from sampan.runtime.contract import CommandNotFound
from sampan.testing.clock import FakeClock
from sampan.testing.contracts.executor import ExecutorContract
from sampan.testing.executor import FakeExecutor
from sampan.testing.linux import FakeLinux
from sampan.testing.world import World


class LocalImages:
    """``TaskImages`` of a host that has what it has."""

    def __init__(self, images: Images) -> None:
        self._images = images

    async def provide(
        self,
        reference: str,
        *,
        auth: str = "",
        sources: Callable[[], Sequence[PeerSource]] = tuple,
        progress: Callable[[str], None] = lambda _: None,
    ) -> str:
        return self._images.get(reference).id


class TestFakeExecutor(ExecutorContract):
    @pytest.fixture
    async def executor(self) -> Executor:
        fake = FakeExecutor(FakeClock())
        fake.missing_images.add("missing")
        return fake


class TestEngineExecutor(ExecutorContract):
    def command(self, *words: str) -> tuple[str, ...]:
        match words:
            case ["exit", code]:
                return ("sh", "-c", f"exit {code}")
            case ["sleep", seconds]:
                return ("sleep", seconds)
            case ["missing"]:
                return ("no-such-command",)
        return ("forever",)

    @pytest.fixture
    async def executor(self, tmp_path: Path) -> AsyncIterator[Executor]:
        world = World(tmp_path)
        engine = await world.boot()
        executor = EngineExecutor(
            engine,
            LocalImages(world.images),
            world.config,
            world.clock,
            linux=FakeLinux().linux,
            durable=world.store.durable,
        )
        yield executor
        for task_id in await executor.found():
            await executor.remove(task_id)
        await world.stop()
        await world.runs.close()

    async def test_what_does_not_start_says_so(self, executor: Executor) -> None:
        task = self.task("missing")
        await self.made(executor, task)
        with pytest.raises(CommandNotFound, match=r"^starting container failed: .*no-such-command"):
            await executor.start(task)
