"""What every ``Runs`` does. Subclass, and provide the fixtures ``runs`` and ``bundle``.

``bundle(run_id, *args, **changes)`` makes a BundleSpec whose root file system has the programs
true, false, echo, cat, sleep and sh. Time limits are the suite's (pytest-timeout): nothing here
waits for a fixed time.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import pytest

from sampan.errors import Conflict
from sampan.runtime.contract import (
    AttachStream,
    BundleSpec,
    CommandNotFound,
    ExecSpec,
    NoSuchRun,
    NoSuchUser,
    Runs,
    Stream,
)

Bundles = Callable[..., BundleSpec]


async def collect(stream: AttachStream) -> dict[Stream, bytes]:
    """Everything until the stream ends."""
    found: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
    async for name, data in stream.output():
        found[name] += data
    return found


async def first(stream: AttachStream) -> bytes:
    """The first chunk."""
    async for _name, data in stream.output():
        return data
    return b""


def exec_spec(run_id: str, *args: str, stdin: bool = False, user: str = "") -> ExecSpec:
    return ExecSpec(
        exec_id=f"{run_id}-exec",
        run_id=run_id,
        args=args,
        env=("PATH=/bin",),
        user=user,
        working_dir="/",
        tty=False,
        stdin=stdin,
    )


class RunsContract:
    """The suite."""

    async def test_a_run_from_create_to_delete(self, runs: Runs, bundle: Bundles) -> None:
        created = await runs.create(bundle("life", "sh", "-c", "exit 3"), runtime="crun")
        assert created.pid > 0
        state = await runs.inspect("life")
        assert (state.alive, state.started, state.exit) == (True, False, None)
        await runs.start("life")
        status = await runs.wait("life")
        assert (status.exit_code, status.oom_killed) == (3, False)
        state = await runs.inspect("life")
        assert (state.alive, state.started, state.pid) == (False, True, 0)
        assert state.exit == status
        assert await runs.known() == ["life"]
        await runs.delete("life")
        assert await runs.known() == []
        with pytest.raises(NoSuchRun):
            await runs.inspect("life")

    async def test_attached_before_the_start_nothing_is_missed(
        self, runs: Runs, bundle: Bundles
    ) -> None:
        await runs.create(bundle("att", "sh", "-c", "echo out;echo err >&2"), runtime="crun")
        streams = [await runs.attach("att") for _ in range(3)]
        await runs.start("att")
        for found in await asyncio.gather(*map(collect, streams)):
            assert found == {"stdout": b"out\n", "stderr": b"err\n"}
        await runs.delete("att")

    async def test_stdin_goes_in_and_its_end_too(self, runs: Runs, bundle: Bundles) -> None:
        await runs.create(bundle("in", "cat", open_stdin=True), runtime="crun")
        stream = await runs.attach("in")
        await runs.start("in")
        await stream.write(b"hello\n")
        await stream.close_stdin()
        assert (await collect(stream))["stdout"] == b"hello\n"
        assert (await runs.wait("in")).exit_code == 0
        await runs.delete("in")

    async def test_without_stdin_a_reader_sees_the_end_at_once(
        self, runs: Runs, bundle: Bundles
    ) -> None:
        await runs.create(bundle("noin", "cat"), runtime="crun")
        await runs.start("noin")
        assert (await runs.wait("noin")).exit_code == 0
        await runs.delete("noin")

    async def test_killed_by_a_signal(self, runs: Runs, bundle: Bundles) -> None:
        await runs.create(bundle("kill", "sleep", "1000"), runtime="crun")
        await runs.start("kill")
        waiters = [asyncio.ensure_future(runs.wait("kill")) for _ in range(3)]  # noqa: TID251
        await runs.kill("kill", signal.SIGKILL)
        assert [status.exit_code for status in await asyncio.gather(*waiters)] == [137] * 3
        with pytest.raises(NoSuchRun):
            await runs.kill("kill", signal.SIGTERM)
        await runs.delete("kill")

    async def test_one_waiter_cancelled_leaves_the_others(
        self, runs: Runs, bundle: Bundles
    ) -> None:
        await runs.create(bundle("waits", "cat", open_stdin=True), runtime="crun")
        stream = await runs.attach("waits")
        await runs.start("waits")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(runs.wait("waits"), 0.01)
        await stream.close_stdin()
        assert (await runs.wait("waits")).exit_code == 0
        await runs.delete("waits")

    async def test_deleting_a_live_run_kills_it(self, runs: Runs, bundle: Bundles) -> None:
        await runs.create(bundle("del", "sleep", "1000"), runtime="crun")
        await runs.start("del")
        await runs.delete("del")
        await runs.delete("del")
        assert await runs.known() == []

    async def test_a_created_run_can_be_deleted(self, runs: Runs, bundle: Bundles) -> None:
        await runs.create(bundle("never", "true"), runtime="crun")
        await runs.delete("never")
        assert await runs.known() == []

    async def test_a_missing_command_leaves_nothing(self, runs: Runs, bundle: Bundles) -> None:
        with pytest.raises(CommandNotFound, match="executable file not found in"):
            await runs.create(bundle("missing", "nosuch"), runtime="crun")
        assert await runs.known() == []

    async def test_an_id_is_used_once(self, runs: Runs, bundle: Bundles) -> None:
        await runs.create(bundle("once", "true"), runtime="crun")
        with pytest.raises(Conflict):
            await runs.create(bundle("once", "true"), runtime="crun")
        await runs.start("once")
        with pytest.raises(Conflict):
            await runs.start("once")
        await runs.wait("once")
        await runs.delete("once")

    async def test_an_unknown_run(self, runs: Runs) -> None:
        for ask in (runs.attach, runs.start, runs.wait, runs.pids, runs.inspect):
            with pytest.raises(NoSuchRun):
                await ask("nobody")
        await runs.delete("nobody")

    async def test_pause_and_resume(self, runs: Runs, bundle: Bundles) -> None:
        await runs.create(bundle("pause", "sleep", "1000"), runtime="crun")
        await runs.start("pause")
        await runs.pause("pause")
        assert (await runs.inspect("pause")).paused
        await runs.resume("pause")
        assert not (await runs.inspect("pause")).paused
        await runs.pause("pause")
        await runs.delete("pause")

    async def test_exec(self, runs: Runs, bundle: Bundles) -> None:
        await runs.create(bundle("ex", "sleep", "1000"), runtime="crun")
        await runs.start("ex")
        spec = exec_spec("ex", "sh", "-c", "echo out;echo err >&2;exit 4")
        process = await runs.exec(spec)
        assert await collect(process) == {"stdout": b"out\n", "stderr": b"err\n"}
        assert await process.wait() == 4
        await process.close()

        process = await runs.exec(exec_spec("ex", "cat", stdin=True))
        assert process.pid in await runs.pids("ex")
        await process.write(b"in\n")
        assert await first(process) == b"in\n"
        await process.close_stdin()
        assert await process.wait() == 0
        await process.close()

        await runs.check_user("ex", "1000:2000")
        with pytest.raises(NoSuchUser):
            await runs.check_user("ex", "nobodyatall")

        process = await runs.exec(exec_spec("ex", "sleep", "1000"))
        await process.kill(signal.SIGKILL)
        assert await process.wait() == 137
        await process.close()
        with pytest.raises(CommandNotFound):
            await runs.exec(exec_spec("ex", "nosuch"))
        await runs.kill("ex", signal.SIGKILL)
        await runs.wait("ex")
        with pytest.raises(NoSuchRun):
            await runs.exec(exec_spec("ex", "true"))
        await runs.delete("ex")

    async def test_leaving_does_not_end_the_run(self, runs: Runs, bundle: Bundles) -> None:
        await runs.create(bundle("leave", "cat", open_stdin=True), runtime="crun")
        gone, stays = await runs.attach("leave"), await runs.attach("leave")
        await runs.start("leave")
        await gone.close()
        await stays.write(b"still here\n")
        assert await first(stays) == b"still here\n"
        await stays.close_stdin()
        assert (await runs.wait("leave")).exit_code == 0
        await runs.delete("leave")
