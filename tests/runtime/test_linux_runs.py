"""Real containers on real conmon and crun."""

from __future__ import annotations

import asyncio
import os
import select
import signal
from pathlib import Path

import pytest

from sampan.aio import SystemClock
from sampan.api.builtin_drivers import builtin_drivers
from sampan.config import DaemonConfig
from sampan.errors import InvalidArgument
from sampan.kernel import cgroup, process
from sampan.runtime.contract import CommandNotExecutable, CommandNotFound, ExecSpec, NoSuchUser
from sampan.runtime.logs import LogFiles
from sampan.runtime.runs import LinuxRuns, open_runs
from sampan.store.records import Device, HostConfig, MountPoint, Resources, Ulimit
from sampan.testing.contracts.runs import Bundles, RunsContract, collect, exec_spec, first
from sampan.testing.store import MemoryStore


class TestLinuxRuns(RunsContract):
    pass


async def test_attached_is_who_the_monitor_has_accepted(runs: LinuxRuns, bundle: Bundles) -> None:
    made = await runs.create(bundle("late", "sh", "-c", "echo out;echo err >&2"), runtime="crun")
    os.kill(made.monitor_pid, signal.SIGSTOP)
    attaching = asyncio.gather(*(runs.attach("late") for _ in range(3)))
    done, _ = await asyncio.wait({attaching}, timeout=0.05)
    assert not done
    os.kill(made.monitor_pid, signal.SIGCONT)
    streams = await attaching
    await runs.start("late")
    for found in await asyncio.gather(*map(collect, streams)):
        assert found == {"stdout": b"out\n", "stderr": b"err\n"}
    await runs.delete("late")


async def output(runs: LinuxRuns, bundle: Bundles, *args: str, **changes: object) -> str:
    """Run to the end; stdout and stderr."""
    await runs.create(bundle("o", *args, **changes), runtime="crun")
    stream = await runs.attach("o")
    await runs.start("o")
    found = await collect(stream)
    await runs.wait("o")
    await runs.delete("o")
    return (found["stdout"] + found["stderr"]).decode()


def sh(script: str) -> tuple[str, str, str]:
    return ("sh", "-c", script)


# -- isolation


async def test_default_privileges(runs: LinuxRuns, bundle: Bundles) -> None:
    text = await output(
        runs, bundle, *sh("grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; hostname")
    )
    assert "CapEff:\t00000000a80425fb" in text
    assert "Seccomp:\t2" in text
    assert "NoNewPrivs:\t0" in text
    assert text.endswith("box\n")


async def test_without_a_filter(runs: LinuxRuns, bundle: Bundles) -> None:
    free = HostConfig(security_opt=("seccomp=unconfined",))
    text = await output(runs, bundle, "grep", "Seccomp:", "/proc/self/status", host=free)
    assert text == "Seccomp:\t0\n"


async def test_a_profile_of_ones_own(runs: LinuxRuns, bundle: Bundles) -> None:
    profile = (
        '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":'
        '[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":13}]}'
    )
    host = HostConfig(security_opt=(f"seccomp={profile}",))
    assert "Permission denied" in await output(runs, bundle, "mkdir", "/tmp/x", host=host)
    with pytest.raises(InvalidArgument, match="Decoding seccomp profile failed"):
        await runs.create(
            bundle("bad", "true", host=HostConfig(security_opt=("seccomp={",))), runtime="crun"
        )


async def test_privileged(runs: LinuxRuns, bundle: Bundles) -> None:
    text = await output(
        runs,
        bundle,
        *sh("grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp && echo mounted"),
        host=HostConfig(privileged=True),
    )
    assert text == "Seccomp:\t0\nmounted\n"


async def test_masked_and_read_only_paths(runs: LinuxRuns, bundle: Bundles) -> None:
    text = await output(
        runs,
        bundle,
        *sh("wc -c < /proc/interrupts; echo 1 > /proc/sys/vm/drop_caches; ls /sys/firmware"),
    )
    assert text.startswith("0\n")
    assert "Read-only file system" in text


async def test_capabilities_added_and_dropped(runs: LinuxRuns, bundle: Bundles) -> None:
    host = HostConfig(
        cap_drop=("ALL",), cap_add=("NET_ADMIN",), security_opt=("no-new-privileges",)
    )
    text = await output(
        runs, bundle, "grep", "-E", "CapEff|NoNewPrivs", "/proc/self/status", host=host
    )
    assert text == "CapEff:\t0000000000001000\nNoNewPrivs:\t1\n"


# -- who, where, with what


async def test_users(runs: LinuxRuns, bundle: Bundles) -> None:
    assert "uid=1000(app) gid=1001(appgroup) groups=1001(appgroup),2000(extra)" in await output(
        runs, bundle, "id", user="app"
    )
    assert "uid=1000(app) gid=2001(more)" in await output(runs, bundle, "id", user="1000:more")
    assert "uid=5000 gid=0(root)" in await output(runs, bundle, "id", user="5000")
    text = await output(
        runs, bundle, "grep", "-E", "CapEff|CapBnd", "/proc/self/status", user="app"
    )
    assert text == "CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\n"
    with pytest.raises(NoSuchUser, match="unable to find user nobody: no matching entries"):
        await runs.create(bundle("u", "id", user="nobody"), runtime="crun")
    assert await runs.known() == []


async def test_working_directory_is_made(runs: LinuxRuns, bundle: Bundles) -> None:
    assert await output(runs, bundle, "pwd", working_dir="/made/by/us") == "/made/by/us\n"


async def test_mounts(runs: LinuxRuns, bundle: Bundles, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("content\n")
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 me\n")
    mounts = (
        MountPoint(type="bind", source=str(source), target="/data", read_write=False),
        MountPoint(type="bind", source=str(source), target="/data-rw"),
        MountPoint(type="tmpfs", source="", target="/scratch", mode="size=64k,exec"),
    )
    text = await output(
        runs,
        bundle,
        *sh(
            "cat /data/file /etc/hosts; touch /data/x; touch /data-rw/y; grep scratch /proc/mounts;"
            "grep /dev/shm /proc/mounts"
        ),
        mounts=mounts,
        etc_files={"/etc/hosts": hosts},
    )
    assert text.startswith("content\n127.0.0.1 me\n")
    assert "Read-only file system" in text
    assert (source / "y").exists()
    scratch = next(line for line in text.splitlines() if "/scratch" in line)
    assert "size=64k" in scratch
    assert "noexec" not in scratch
    assert "nosuid" in scratch
    assert "size=1024k" in next(line for line in text.splitlines() if "/dev/shm" in line)


async def test_a_missing_bind_source(runs: LinuxRuns, bundle: Bundles) -> None:
    mounts = (MountPoint(type="bind", source="/nosuch/dir", target="/data"),)
    with pytest.raises(InvalidArgument, match="bind source path does not exist: /nosuch/dir"):
        await runs.create(bundle("m", "true", mounts=mounts), runtime="crun")
    assert await runs.known() == []


async def test_limits(runs: LinuxRuns, bundle: Bundles) -> None:
    resources = Resources(
        memory=64 << 20,
        nano_cpus=500_000_000,
        pids_limit=50,
        ulimits=(Ulimit(name="nofile", soft=100, hard=200),),
        devices=(Device(path_on_host="/dev/null", path_in_container="/dev/nothing"),),
    )
    text = await output(
        runs,
        bundle,
        *sh(
            "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us"
            " pids/pids.max; ulimit -n; echo x > /dev/nothing && echo device"
        ),
        host=HostConfig(resources=resources),
    )
    assert text == f"{64 << 20}\n50000\n50\n100\ndevice\n"


async def test_limits_of_a_live_run_change(
    runs: LinuxRuns, bundle: Bundles, config: DaemonConfig
) -> None:
    await runs.create(bundle("up", "sleep", "1000"), runtime="crun")
    await runs.start("up")
    await runs.update("up", Resources(pids_limit=33, memory=32 << 20))
    process_ = await runs.exec(exec_spec("up", "cat", "/sys/fs/cgroup/pids/pids.max"))
    assert (await collect(process_))["stdout"] == b"33\n"
    await process_.close()
    await runs.delete("up")


async def test_out_of_memory_is_told(runs: LinuxRuns, bundle: Bundles) -> None:
    host = HostConfig(resources=Resources(memory=8 << 20, memory_swap=8 << 20))
    eater = sh("x=aaaaaaaaaaaaaaaa; while true; do x=$x$x; done")
    await runs.create(bundle("oom", *eater, host=host), runtime="crun")
    await runs.start("oom")
    status = await runs.wait("oom")
    assert status.oom_killed
    await runs.delete("oom")


async def test_a_limit_above_ours_is_clamped_with_a_warning(
    runs: LinuxRuns, bundle: Bundles
) -> None:
    limit = Ulimit(name="nofile", soft=1 << 30, hard=1 << 30)
    host = HostConfig(resources=Resources(ulimits=(limit,)))
    created = await runs.create(bundle("clamp", "true", host=host), runtime="crun")
    if not process_can_raise():
        assert any("ulimit nofile" in warning for warning in created.warnings)
    await runs.delete("clamp")


def process_can_raise() -> bool:
    from sampan.kernel import rlimit

    return bool(rlimit.effective_capabilities() >> rlimit.CAP_SYS_RESOURCE & 1)


async def test_an_init_reaps(runs: LinuxRuns, bundle: Bundles) -> None:
    text = await output(runs, bundle, "readlink", "/proc/1/exe", host=HostConfig(init=True))
    assert text == "/sbin/docker-init\n"


# -- errors


async def test_commands_that_cannot_run(runs: LinuxRuns, bundle: Bundles) -> None:
    with pytest.raises(CommandNotFound, match=r'exec: "nosuch": executable file not found'):
        await runs.create(bundle("e", "nosuch"), runtime="crun")
    with pytest.raises(CommandNotFound, match="no such file or directory"):
        await runs.create(bundle("e", "/no/such"), runtime="crun")
    with pytest.raises(CommandNotExecutable, match="permission denied"):
        await runs.create(bundle("e", "/bin/script"), runtime="crun")
    with pytest.raises(CommandNotExecutable):
        await runs.create(bundle("e", "/etc"), runtime="crun")
    with pytest.raises(InvalidArgument, match="unknown or invalid runtime name"):
        await runs.create(bundle("e", "true"), runtime="nosuch")
    assert await runs.known() == []


async def test_runc_does_too(runs: LinuxRuns, bundle: Bundles) -> None:
    await runs.create(bundle("rc", *sh("echo hi; exit 5")), runtime="runc")
    stream = await runs.attach("rc")
    assert not (await runs.inspect("rc")).started
    await runs.start("rc")
    assert (await collect(stream))["stdout"] == b"hi\n"
    assert (await runs.wait("rc")).exit_code == 5
    await runs.delete("rc")
    with pytest.raises(CommandNotFound):
        await runs.create(bundle("rc", "nosuch"), runtime="runc")
    assert await runs.known() == []


# -- terminals


async def test_a_terminal_is_resized_and_typed_into(runs: LinuxRuns, bundle: Bundles) -> None:
    await runs.create(bundle("tty", "sh", tty=True, open_stdin=True), runtime="crun")
    stream = await runs.attach("tty")
    await runs.start("tty")
    await runs.resize("tty", 33, 77)
    await stream.write(b"stty size; exit 6\n")
    assert b"33 77" in (await collect(stream))["stdout"]
    assert (await runs.wait("tty")).exit_code == 6
    await runs.delete("tty")


async def test_exec_with_a_terminal(runs: LinuxRuns, bundle: Bundles) -> None:
    await runs.create(bundle("et", "sleep", "1000"), runtime="crun")
    await runs.start("et")
    spec = ExecSpec(
        exec_id="terminal",
        run_id="et",
        args=("sh",),
        env=("PATH=/bin",),
        user="app",
        working_dir="/tmp",
        tty=True,
        stdin=True,
    )
    shell = await runs.exec(spec)
    await shell.resize(21, 43)
    await shell.write(b"stty size; id -u; pwd; exit 9\n")
    text = (await collect(shell))["stdout"]
    assert await shell.wait() == 9
    assert b"21 43" in text
    assert b"1000" in text
    assert b"/tmp\r\n" in text
    await shell.close()
    await runs.delete("et")


async def test_an_exec_inherits_no_descriptor(runs: LinuxRuns, bundle: Bundles) -> None:
    await runs.create(bundle("fds", "sleep", "1000"), runtime="crun")
    await runs.start("fds")
    process_ = await runs.exec(exec_spec("fds", "ls", "/proc/self/fd"))
    # 3 is the directory that ls reads.
    assert (await collect(process_))["stdout"].split() == [b"0", b"1", b"2", b"3"]
    await process_.close()
    await runs.delete("fds")


# -- much data, slow readers


async def test_a_slow_reader_loses_nothing(runs: LinuxRuns, bundle: Bundles) -> None:
    await runs.create(bundle("slow", "seq", "1", "400000"), runtime="crun")
    stream = await runs.attach("slow")
    await runs.start("slow")
    received = b""
    async for _name, data in stream.output():
        received += data
        await asyncio.sleep(0)
    lines = received.split(b"\n")
    assert (lines[0], lines[399_999], len(lines)) == (b"1", b"400000", 400_001)
    await runs.delete("slow")


async def test_much_stdin_comes_through_whole(runs: LinuxRuns, bundle: Bundles) -> None:
    data = os.urandom(3 << 20)
    await runs.create(bundle("big", "cat", open_stdin=True, log_path=None), runtime="crun")
    stream = await runs.attach("big")
    await runs.start("big")

    async def feed() -> None:
        await stream.write(data)
        await stream.close_stdin()

    async with asyncio.TaskGroup() as group:
        group.create_task(feed())
        collected = group.create_task(collect(stream))
    assert collected.result()["stdout"] == data
    await runs.delete("big")


# -- death of the daemon, and of the monitor


async def test_the_next_daemon_finds_everything(
    runs: LinuxRuns, bundle: Bundles, config: DaemonConfig
) -> None:
    await runs.create(bundle("lives", "cat", open_stdin=True), runtime="crun")
    await runs.create(bundle("unstarted", "true"), runtime="crun")
    await runs.create(bundle("ended", *sh("exit 7")), runtime="crun")
    await runs.start("lives")
    await runs.start("ended")
    await runs.wait("ended")
    (config.paths.run("halfmade")).mkdir()
    async with open_runs(
        config, SystemClock(), builtin_drivers(config, MemoryStore()).runtime
    ) as later:
        assert await later.known() == ["ended", "halfmade", "lives", "unstarted"]
        lives = await later.inspect("lives")
        assert lives.alive
        assert lives.started
        assert not (await later.inspect("unstarted")).started
        half = await later.inspect("halfmade")
        assert (half.alive, half.started) == (False, False)
        ended = await later.inspect("ended")
        assert ended.exit is not None
        assert ended.exit.exit_code == 7
        stream = await later.attach("lives")
        await stream.write(b"again\n")
        assert await first(stream) == b"again\n"
        await stream.close_stdin()
        assert (await later.wait("lives")).exit_code == 0
        for run_id in await later.known():
            await later.delete(run_id)
        assert await later.known() == []


async def test_a_killed_monitor_ends_its_run(runs: LinuxRuns, bundle: Bundles) -> None:
    created = await runs.create(bundle("orphan", "sleep", "1000"), runtime="crun")
    await runs.start("orphan")
    assert process.send_signal(created.monitor_pid, 0, signal.SIGKILL)
    assert (await runs.wait("orphan")).exit_code == 255
    assert process.start_time(created.pid) is None
    state = await runs.inspect("orphan")
    assert state.exit is not None
    assert state.exit.exit_code == 255
    await runs.delete("orphan")


async def test_nothing_is_left(runs: LinuxRuns, bundle: Bundles, config: DaemonConfig) -> None:
    await output(runs, bundle, "true")
    for name in ("runs", "exits", "oci"):
        assert list((config.paths.state / name).iterdir()) == []
    assert not cgroup.detect().exists(f"{config.instance.cgroup}/o")


# -- logs


async def test_the_log_is_complete_when_wait_returns(
    runs: LinuxRuns, bundle: Bundles, tmp_path: Path
) -> None:
    spec = bundle("log", *sh("seq 1 5000; echo err >&2; printf unfinished"))
    await runs.create(spec, runtime="crun")
    await runs.start("log")
    await runs.wait("log")
    assert spec.log_path is not None
    entries = [e async for batch in LogFiles().read(spec.log_path) for e in batch]
    out = b"".join(e.line for e in entries if e.stream == "stdout")
    assert out == b"".join(b"%d\n" % n for n in range(1, 5001)) + b"unfinished"
    assert [e.line for e in entries if e.stream == "stderr"] == [b"err\n"]
    await runs.delete("log")


async def test_a_monitor_has_gone_when_its_run_is_deleted(runs: LinuxRuns, bundle: Bundles) -> None:
    """It takes its socket away last, by a path that is the next run's as well."""
    for _ in range(10):
        made = await runs.create(bundle("again", "true"), runtime="crun")
        monitor = process.open_process(made.monitor_pid, process.start_time(made.monitor_pid) or 0)
        assert monitor is not None
        try:
            stream = await runs.attach("again")
            await runs.start("again")
            await collect(stream)
            await runs.wait("again")
            await runs.delete("again")
            assert select.select([monitor], [], [], 0)[0], "the monitor lives on"
        finally:
            os.close(monitor)
