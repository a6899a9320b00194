"""Every OCI runtime keeps the contract: the built-in ones, one of daemon.json, a toy."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from sampan.aio import SystemClock, in_thread
from sampan.api.builtin_drivers import builtin_drivers
from sampan.config import DaemonConfig, RuntimeProgram
from sampan.errors import SampanError
from sampan.kernel import process
from sampan.runtime import files, monitor
from sampan.runtime.contract import BundleSpec
from sampan.runtime.oci_runtimes.command_line import CommandLineRuntime
from sampan.runtime.oci_runtimes.contract import RuntimeHangs, UnknownRuntime
from sampan.runtime.runs import LinuxRuns, open_runs
from sampan.testing.contracts.runs import Bundles
from sampan.testing.contracts.runtime_driver import RuntimeDriverContract
from sampan.testing.place import wait_until
from sampan.testing.store import MemoryStore
from sampan.testing.toys.runtime import ToyRuntime

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="containers need root")


@pytest.fixture
async def toy(config: DaemonConfig, tmp_path: Path) -> ToyRuntime:
    return ToyRuntime(tmp_path, files.oci_root(config.paths))


@pytest.fixture
async def runs(config: DaemonConfig, toy: ToyRuntime) -> AsyncIterator[LinuxRuns]:
    given = RuntimeProgram(shutil.which("crun") or "", ("--debug",))
    drivers = builtin_drivers(replace(config, runtimes={"given": given}), MemoryStore())
    drivers.runtime.register("toy", toy)
    async with open_runs(config, SystemClock(), drivers.runtime) as opened:
        yield opened
        for run_id in await opened.known():
            await opened.delete(run_id)


@needs_root
@pytest.mark.parametrize("runtime", ["crun", "runc", "io.containerd.runc.v2", "given", "toy"])
class TestRuntimes(RuntimeDriverContract):
    @pytest.fixture
    def bundle(self, bundle: Bundles, runtime: str) -> Bundles:
        if runtime.endswith(("runc", "runc.v2")) and shutil.which("runc") is None:
            pytest.skip("runc is not installed")
        return bundle


@needs_root
async def test_a_runtime_of_daemon_json_is_given_its_arguments(
    config: DaemonConfig, toy: ToyRuntime, bundle: Bundles, tmp_path: Path
) -> None:
    program = RuntimeProgram(toy.path, ("--cgroup-manager=disabled", "--debug"))
    noted = tmp_path / "toy-runtime.notes"
    drivers = builtin_drivers(replace(config, runtimes={"noted": program}), MemoryStore())
    async with open_runs(config, SystemClock(), drivers.runtime) as runs:
        spec: BundleSpec = bundle("args", "true")
        await runs.create(spec, runtime="noted")
        await runs.start("args")
        await runs.wait("args")
        await runs.delete("args")
    lines = noted.read_text().splitlines()
    assert len(lines) >= 2
    assert all("--cgroup-manager=disabled --debug" in line for line in lines)
    assert {"create", "start"} <= set(toy.commands())


def hanging(config: DaemonConfig, tmp_path: Path, at: str) -> tuple[CommandLineRuntime, Path]:
    """A runtime that hangs at one of its commands, and where it notes its process then."""
    program, pids = tmp_path / "hangs", tmp_path / "pids"
    program.write_text(
        f'#!/bin/sh\ncase " $* " in\n*" {at} "*) echo $$ >> {pids}; exec sleep 1000;;\n'
        '*) exec crun "$@";;\nesac\n'
    )
    program.chmod(0o755)
    return CommandLineRuntime("hangs", str(program), files.oci_root(config.paths)), pids


@needs_root
@pytest.mark.parametrize("hangs_at", ["create", "start", "delete"])
async def test_a_runtime_that_hangs_is_killed_and_told(
    config: DaemonConfig, bundle: Bundles, tmp_path: Path, hangs_at: str
) -> None:
    hangs, pids = hanging(config, tmp_path, hangs_at)
    drivers = builtin_drivers(config, MemoryStore())
    drivers.runtime.register("hangs", hangs)
    async with open_runs(config, SystemClock(), drivers.runtime) as runs:
        steps = {
            "create": lambda: runs.create(bundle("h", "sleep", "1000"), runtime="hangs"),
            "start": lambda: runs.start("h"),
            "delete": lambda: runs.delete("h"),
        }
        said = ""
        for name, step in steps.items():
            if name == hangs_at:
                hangs.answers_within_s = 1
            try:
                await step()
            except RuntimeHangs as error:
                said = str(error)
                break
        if hangs_at != "delete":  # which goes on without it
            assert said.startswith(f"OCI runtime hangs: no answer to `{hangs_at}` within 1 s")
        for run_id in await runs.known():
            await runs.delete(run_id)
        assert await runs.known() == []
    (pid,) = pids.read_text().split()
    assert await in_thread(wait_until, lambda: process.start_time(int(pid)) is None)


async def test_a_program_is_found_once_whoever_asks(config: DaemonConfig) -> None:
    runtime = CommandLineRuntime("t", "/bin/true", files.oci_root(config.paths), sealed=True)
    assert runtime.found == ""
    found = set(await asyncio.gather(*(in_thread(runtime.executable) for _ in range(16))))
    assert found == {runtime.found}
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    copies = [at for at in links if os.path.lexists(at) and "memfd:true" in os.readlink(at)]  # noqa: ASYNC240
    assert len(copies) == 1
    runtime.close()
    # Of one that nobody has asked yet, a command asks itself: as after a daemon's start.
    assert await runtime.update("any", b"{}") == ""
    assert runtime.found
    runtime.close()
    assert runtime.found == ""


async def test_a_monitor_that_hangs_before_it_forks_is_killed_and_reaped(
    config: DaemonConfig, tmp_path: Path
) -> None:
    """No pid file names it by then: its start alone knows of it."""
    noted = tmp_path / "pid"
    program = ["/bin/sh", "-c", f"echo $$ > {noted}; exec sleep 1000"]
    runtime = CommandLineRuntime("any", "/bin/true", files.oci_root(config.paths))
    runtime.answers_within_s = 1
    run = files.RunFiles.of(config.paths, "h")
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(RuntimeHangs, match="no answer to `create` within 1 s"):
        await monitor.launch(program, run, "true", dict(os.environ), runtime)
    assert noted.read_text().strip() not in os.listdir("/proc"), "not even a zombie"
    assert set(os.listdir("/proc/self/fd")) == before


@needs_root
async def test_a_runtime_that_hangs_holds_up_no_other(
    config: DaemonConfig, bundle: Bundles, tmp_path: Path
) -> None:
    hangs, pids = hanging(config, tmp_path, "create")
    drivers = builtin_drivers(config, MemoryStore())
    drivers.runtime.register("hangs", hangs)
    async with open_runs(config, SystemClock(), drivers.runtime) as runs:
        turns = 2 * (os.cpu_count() or 1)
        waiting = asyncio.gather(
            *(runs.create(bundle(f"h{n}", "true"), runtime="hangs") for n in range(turns + 1)),
            return_exceptions=True,
        )

        def hung() -> list[int]:
            return [int(pid) for pid in pids.read_text().split()] if pids.exists() else []

        assert await in_thread(wait_until, lambda: len(hung()) == turns)
        await runs.create(bundle("well", "true"), runtime="crun")
        await runs.delete("well")
        for n in range(turns + 1):
            assert await in_thread(wait_until, lambda n=n: len(hung()) > n)
            process.send_signal(hung()[n], 0, signal.SIGKILL)
        assert all(isinstance(end, SampanError) for end in await waiting)
        assert await runs.known() == []


def test_a_program_that_is_not_there(config: DaemonConfig) -> None:
    gone = replace(config, runtimes={"gone": RuntimeProgram("/no/such/program")})
    drivers = builtin_drivers(gone, MemoryStore())
    assert drivers.runtime.get("gone").path == ""
    with pytest.raises(UnknownRuntime, match=r"name: gone: /no/such/program is not .*: correct"):
        drivers.runtime.get("gone").executable()


def test_a_program_of_the_configuration_comes_before_the_built_in_one(
    config: DaemonConfig,
) -> None:
    own = replace(config, runtimes={"runc": RuntimeProgram("/bin/true")})
    drivers = builtin_drivers(own, MemoryStore())
    assert drivers.runtime.get("io.containerd.runc.v2").path == "/bin/true"
    assert not drivers.runtime.get("runc").capabilities.takes_bpf
    assert drivers.runtime.get("crun").capabilities.takes_bpf


@needs_root
async def test_a_run_is_deleted_although_its_runtime_has_gone(
    config: DaemonConfig, runs: LinuxRuns, bundle: Bundles
) -> None:
    await runs.create(bundle("orphan", "sleep", "1000"), runtime="toy")
    await runs.start("orphan")
    pid = (await runs.inspect("orphan")).pid
    without_toy = builtin_drivers(config, MemoryStore()).runtime
    async with open_runs(config, SystemClock(), without_toy) as later:
        await later.delete("orphan")
        assert await later.known() == []
    assert process.start_time(pid) is None
