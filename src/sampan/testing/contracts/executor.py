"""What every ``Executor`` keeps to. Subclass it as ``TestX`` and override the fixture.

The image is ``busybox``; its commands are ``exit N``, ``sleep SECONDS`` and ``forever``, spelled as
``command`` says.
"""

from __future__ import annotations

import asyncio

import pytest

from sampan.cluster.agent.contract import Executor, Exit, NoSuchTask, Supplies, TaskPlace
from sampan.cluster.protocol.messages import Assignment, Payload
from sampan.cluster.records import new_id
from sampan.cluster.spec import ContainerSpec, FileTarget, SecretReference, TaskSpec
from sampan.cluster.states import TaskState
from sampan.errors import NotFound, SampanError


def silent(_: str) -> None:
    return None


class ExecutorContract:
    @pytest.fixture
    async def executor(self) -> Executor:
        raise NotImplementedError

    def command(self, *words: str) -> tuple[str, ...]:
        return words

    def task(self, *words: str, image: str = "busybox", **spec: object) -> Assignment:
        return Assignment(
            id=new_id(),
            service_id="service",
            service_name="web",
            slot=1,
            node_id="node",
            desired=TaskState.RUNNING,
            spec=TaskSpec(
                container_spec=ContainerSpec(
                    image=image,
                    args=self.command(*words),
                    stop_grace_period=0,
                    **spec,  # type: ignore[arg-type]
                )
            ),
        )

    async def made(
        self, executor: Executor, task: Assignment, supplies: Supplies | None = None
    ) -> TaskPlace:
        supplies = supplies or Supplies()
        image = await executor.fetch(task, supplies, silent)
        return await executor.create(task, image, supplies)

    async def test_a_task_runs_until_it_is_stopped(self, executor: Executor) -> None:
        task = self.task("forever")
        made = await self.made(executor, task)
        assert made.phase == "created"
        assert (await executor.found())[task.id] == made
        started = await executor.start(task)
        assert started.phase == "running"
        assert started.pid
        assert started.container_id == made.container_id
        await asyncio.wait_for(executor.ready(task), 10)
        end = await executor.stop(task.id)
        assert end is not None
        assert end.code
        assert await executor.wait(task) == end
        assert (await executor.found())[task.id].phase == "ended"
        await executor.remove(task.id)
        assert task.id not in await executor.found()

    async def test_a_task_that_ends_tells_its_exit_code(self, executor: Executor) -> None:
        for code in (0, 3):
            task = self.task("exit", str(code))
            await self.made(executor, task)
            await executor.start(task)
            assert await asyncio.wait_for(executor.wait(task), 10) == Exit(code=code)
            # It is not run a second time.
            assert (await executor.start(task)).phase == "ended"
            await executor.remove(task.id)

    async def test_every_step_may_be_repeated(self, executor: Executor) -> None:
        task = self.task("forever")
        first = await self.made(executor, task)
        assert await self.made(executor, task) == first
        started = await executor.start(task)
        assert await executor.start(task) == started
        end = await executor.stop(task.id)
        assert await executor.stop(task.id) == end
        await executor.remove(task.id)
        await executor.remove(task.id)
        assert await executor.stop(task.id) is None

    async def test_what_is_not_there_is_said_to_be_not_there(self, executor: Executor) -> None:
        task = self.task("forever")
        with pytest.raises(NoSuchTask):
            await executor.start(task)
        with pytest.raises(NoSuchTask):
            await executor.wait(task)
        with pytest.raises(NotFound):
            await executor.fetch(self.task("forever", image="missing"), Supplies(), silent)

    async def test_a_task_that_was_never_started_is_stopped_and_removed(
        self, executor: Executor
    ) -> None:
        task = self.task("forever")
        await self.made(executor, task)
        assert await executor.stop(task.id) is None
        await executor.remove(task.id)
        assert not await executor.found()

    async def test_a_secret_must_be_there(self, executor: Executor) -> None:
        uses = SecretReference(file=FileTarget(name="key"), secret_id="s", secret_name="key")
        task = self.task("forever", secrets=(uses,))
        with pytest.raises(SampanError, match="secret key not found"):
            await self.made(executor, task)
        assert not await executor.found()
        supplies = Supplies(secrets={"s": Payload(id="s", name="key", data=b"x")})
        await self.made(executor, task, supplies)
        await executor.remove(task.id)

    async def test_removal_of_a_running_task_ends_it(self, executor: Executor) -> None:
        task = self.task("forever")
        await self.made(executor, task)
        await executor.start(task)
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            waiting = group.create_task(_outcome(executor, task))
            await asyncio.sleep(0)
            await executor.remove(task.id)
        outcome = waiting.result()
        assert isinstance(outcome, NoSuchTask) or outcome.code

    async def test_it_describes_its_host(self, executor: Executor) -> None:
        found = await executor.describe()
        assert found.hostname
        assert found.platform.os == "linux"
        assert found.resources.nano_cpus >= 1_000_000_000
        assert found.resources.memory_bytes > 1 << 20


async def _outcome(executor: Executor, task: Assignment) -> Exit | NoSuchTask:
    try:
        return await executor.wait(task)
    except NoSuchTask as error:
        return error
