"""The runtime's facade: bundle, monitor, OCI runtime and cgroups put together.

Nothing here remembers a run: every method reads what it needs from the run's files, so that it
works the same in the daemon that created the run and in the next one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal as signals
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from sampan import components
from sampan.aio import Clock, Tasks, in_thread, shielded
from sampan.config import DaemonConfig
from sampan.drivers import Registry
from sampan.errors import Conflict, Internal, InvalidArgument
from sampan.kernel import cgroup, dynmods, inroot, process, usage
from sampan.runtime import capabilities, execs, facts, files, monitor, rotate, spec, users
from sampan.runtime.attach import MonitorConnections
from sampan.runtime.contract import (
    AttachStream,
    BundleSpec,
    CreatedRun,
    ExecProcess,
    ExecSpec,
    ExitStatus,
    NoSuchRun,
    RunState,
)
from sampan.runtime.exits import Exits
from sampan.runtime.files import RunFiles, RunRecord
from sampan.runtime.log_drivers.contract import FileRule
from sampan.runtime.oci_runtimes.contract import OciRuntime, UnknownRuntime
from sampan.runtime.spec_mounts import check_recursion, check_sources, check_targets
from sampan.runtime.spec_resources import limits
from sampan.store.records import Resources

log = logging.getLogger(__name__)

_MONITOR_DEADLINE_S = 5.0
_MONITOR_LOOK_S = 0.001
"""Nothing tells a client that it was accepted; the monitor needs some 0.1 ms for it."""
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_MONITOR_GROUP = "monitors"
_MONITOR_TREES = ("name=systemd", "memory")


class LinuxRuns:
    """``Runs`` on this host."""

    def __init__(
        self, config: DaemonConfig, clock: Clock, tasks: Tasks, runtimes: Registry[OciRuntime]
    ) -> None:
        self._runtimes = runtimes
        self._tasks = tasks
        self._config = config
        self._paths = config.paths
        self._clock = clock
        self._cgroups = cgroup.ensure_mounted()
        if config.favor_cgroup_changes and not dynmods.favor_changes():
            log.info("this kernel does not offer favordynmods: starts take some 10 ms longer")
        self._facts = facts.gather(self._cgroups)
        self._conmon = monitor.find()
        files.prepare(config.paths)
        # A creation is processor time of other processes: more of them at once than processors do
        # not end sooner. A runtime that hangs has its own turns only.
        self._launches = defaultdict[str, asyncio.Semaphore](
            lambda: asyncio.Semaphore(2 * (os.cpu_count() or 1))
        )
        self._logs: dict[str, rotate.Rotated] = {}
        self._attached = MonitorConnections(clock)
        self._exits = Exits(files.exits(config.paths), self._oom_killed)

    async def rotate_logs(self) -> None:
        """Forever: rotate the logs of this daemon's runs and of those it found."""
        for run_id in await self.known():
            at = RunFiles.of(self._paths, run_id)
            if (record := at.record()) is not None:
                self._watch_log(at, record)
        await rotate.watch(self._logs, self._clock)

    def _watch_log(self, at: RunFiles, record: RunRecord) -> None:
        if record.log_path and record.log_max_bytes:
            rule = FileRule(record.log_max_bytes, record.log_max_files, record.log_compress)
            self._logs[at.id] = rotate.Rotated(Path(record.log_path), at.ctl, rule)

    async def warm_up(self) -> None:
        """Compile the default filter before the first container asks for it."""
        granted, _ = capabilities.effective(
            (), (), privileged=False, available=self._facts.capabilities
        )
        await in_thread(self._facts.seccomp.default, granted)

    async def close(self) -> None:
        """The daemon goes; runs stay."""
        await self._exits.close()
        self._attached.close()
        for name in self._runtimes.names():
            self._runtimes.get(name).close()

    # -- life

    async def create(self, spec_: BundleSpec, *, runtime: str) -> CreatedRun:
        at = RunFiles.of(self._paths, spec_.id)
        oci = await self._runtimes.find(runtime)
        async with AsyncExitStack() as undo:
            made_by_us: list[RunFiles] = []

            async def unmake() -> None:
                for each in made_by_us:
                    await self.delete(each.id)

            undo.push_async_callback(unmake)
            # To its end also when the caller goes: nothing is removed under a thread that writes.
            bundle = await shielded(in_thread(self._prepare, spec_, at, oci, made_by_us))
            async with self._launches[oci.name]:
                made = await monitor.launch(
                    monitor.arguments(self._conmon, spec_, at, oci),
                    at,
                    spec_.args[0],
                    _ENVIRONMENT,
                    oci,
                )
            record = RunRecord(
                runtime=runtime,
                pid=made.pid,
                pid_started=made.pid_started,
                monitor_pid=made.monitor_pid,
                monitor_started=made.monitor_started,
                rootfs=str(spec_.rootfs),
                command=spec_.args[0],
                user=spec_.user,
                tty=spec_.tty,
                stdin_ends=spec_.open_stdin and spec_.stdin_once and not spec_.tty,
                group_add=spec_.host.group_add,
                log_path=str(spec_.log_path or ""),
                log_max_bytes=spec_.log_max_bytes,
                log_max_files=spec_.log_max_files,
                log_compress=spec_.log_compress,
            )
            at.write_record(record)
            self._tasks.spawn(
                in_thread(self._set_apart, made.monitor_pid, made.monitor_started),
                name=f"set monitor of {at.id[:12]} apart",
            )
            self._watch_log(at, record)
            undo.pop_all()
        return CreatedRun(made.pid, made.pid_started, made.monitor_pid, bundle.warnings)

    async def attach(self, run_id: str) -> AttachStream:
        at, record = self._complete(run_id)
        stream = await self._attached.attach(run_id, at.directory, half_close=record.stdin_ends)
        if at.exec_fifo.exists():
            try:
                await self._accepted(at, record)
            except BaseException:
                await stream.close()
                raise
        return stream

    async def _accepted(self, at: RunFiles, record: RunRecord) -> None:
        """Wait until the monitor has taken in who has connected. What comes first in its loop is
        left to chance: output that it reads before is not sent to them. Before the start there is
        none, so that it sleeps once they are in."""
        try:
            async with asyncio.timeout(_MONITOR_DEADLINE_S):
                while not process.waits_for_events(record.monitor_pid):
                    await self._clock.sleep(_MONITOR_LOOK_S)
        except TimeoutError:
            log.warning("the monitor of %s is slow: first output may be missed", at.id[:12])

    async def start(self, run_id: str) -> None:
        at, record = self._complete(run_id)
        if not at.exec_fifo.exists():
            raise Conflict(f"run {run_id} has been started already")
        oci = await self._runtimes.find(record.runtime)
        await oci.start(at, record.command)

    async def wait(self, run_id: str) -> ExitStatus:
        at, record = self._complete(run_id)
        return await self._exits.wait(at, record)

    async def delete(self, run_id: str) -> None:
        await shielded(self._delete(RunFiles.of(self._paths, run_id)), deadline_s=30)

    async def _delete(self, at: RunFiles) -> None:
        try:
            record = at.record()
        except NoSuchRun:
            record = None
        monitor_pid = record.monitor_pid if record else files.read_pid(at.monitor_pid)
        monitor_started = record.monitor_started if record else 0
        self._logs.pop(at.id, None)
        self._attached.forget(at.id)
        if not (at.directory.exists() or at.oci.exists()):
            # Deleted before, as every run is at its end: the group goes before the directories.
            self._exits.settle(at)
            return await in_thread(self._clear, at)
        if record is None or self._exits.recorded(at) is None:
            # In a thread, as all that changes or reads how a group is frozen: under load the kernel
            # makes that wait for its turn.
            await in_thread(self._kill_all, at, record)
        # The last thing a monitor does is to unlink its socket, by the path: the socket of the next
        # run in this place, if that has begun by then.
        await self._see_off(at, monitor_pid, monitor_started)
        self._exits.settle(at)
        name = record.runtime if record else self._config.default_runtime
        try:
            await (await self._runtimes.find(name)).delete(at)
        except UnknownRuntime as error:
            # Its program, or its line in daemon.json, has gone: what it keeps goes below anyway.
            log.warning("run %s is deleted without its runtime: %s", at.id[:12], error)
        # In a thread: under load the kernel makes a change of cgroups wait for its turn.
        await in_thread(self._clear, at)

    def _clear(self, at: RunFiles) -> None:
        """Remove what is on disk and in the cgroup trees. The run's init is dead."""
        group = self._group(at.id)
        try:
            self._cgroups.remove(group, deadline_s=0)
        except OSError:
            # Processes that outlived init (``--pid host``), or that have not left yet.
            self._signal_group(group, signals.SIGKILL)
            self._cgroups.remove(group)
        for directory in (at.oci, at.directory):
            shutil.rmtree(directory, ignore_errors=True)
        at.exit.unlink(missing_ok=True)

    async def _see_off(self, at: RunFiles, monitor_pid: int, monitor_started: int) -> None:
        """Wait until the monitor of a dead run has ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_MONITOR_DEADLINE_S):
                await process.wait_gone(monitor_pid, monitor_started)
                return
        log.warning("the monitor of %s does not end; killing it", at.id[:12])
        process.send_signal(monitor_pid, monitor_started, signals.SIGKILL)
        await process.wait_gone(monitor_pid, monitor_started)

    def _kill_all(self, at: RunFiles, record: RunRecord | None) -> None:
        group = self._group(at.id)
        with suppress(OSError):
            if self._cgroups.frozen(group):
                self._cgroups.freeze(group, False)
        if record is not None:
            process.send_signal(record.pid, record.pid_started, signals.SIGKILL)
        self._signal_group(group, signals.SIGKILL)

    # -- while it lives

    async def kill(self, run_id: str, signal: int, *, everyone: bool = False) -> None:
        _at, record = self._complete(run_id)
        if everyone:
            if not self._signal_group(self._group(run_id), signal):
                raise NoSuchRun(f"run {run_id} has ended already")
        elif not process.send_signal(record.pid, record.pid_started, signal):
            raise NoSuchRun(f"run {run_id} has ended already")
        if signal == signals.SIGKILL:
            self._attached.hurry(run_id)

    async def pause(self, run_id: str) -> None:
        self._living(run_id)
        await in_thread(self._cgroups.freeze, self._group(run_id), True)

    async def resume(self, run_id: str) -> None:
        self._living(run_id)
        await in_thread(self._cgroups.freeze, self._group(run_id), False)

    async def resize(self, run_id: str, rows: int, columns: int) -> None:
        at, record = self._living(run_id)
        if not record.tty:
            return
        # The monitor's control pipe: "1 ROWS COLUMNS" is a window's size.
        fd = os.open(at.ctl, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(fd, b"1 %d %d\n" % (rows, columns))
        finally:
            os.close(fd)

    async def update(self, run_id: str, resources: Resources) -> None:
        _at, record = self._living(run_id)
        wanted, _warnings = limits(resources, self._facts)
        oci = await self._runtimes.find(record.runtime)
        problem = await oci.update(run_id, msgspec.json.encode(wanted))
        if problem:
            raise InvalidArgument(
                f"Cannot update container {run_id}: {problem.strip()}: the kernel refused a limit"
            )

    async def pids(self, run_id: str) -> list[int]:
        self._complete(run_id)
        return await in_thread(self._cgroups.pids, self._group(run_id))

    async def usage(self, run_id: str) -> usage.Usage:
        self._living(run_id)
        try:
            return await asyncio.to_thread(usage.usage, self._cgroups, self._group(run_id))
        except FileNotFoundError as error:
            raise NoSuchRun(f"run {run_id} has ended already") from error

    async def exec(self, spec_: ExecSpec) -> ExecProcess:
        at, record = self._living(spec_.run_id)
        process_json = await in_thread(self._exec_process, at, record, spec_)
        oci = await self._runtimes.find(record.runtime)
        return await execs.start(oci, spec_, process_json, at.directory)

    async def check_user(self, run_id: str, user: str) -> None:
        _at, record = self._living(run_id)
        await in_thread(users.resolve, Path(record.rootfs), user)

    # -- what a later daemon asks

    async def inspect(self, run_id: str) -> RunState:
        at = RunFiles.of(self._paths, run_id)
        record = at.record()
        started = not at.exec_fifo.exists()
        if record is None:
            # The daemon died while this was being created: nothing of it was ever promised.
            pid = files.read_pid(at.pid)
            alive = (
                pid > 0
                and process.start_time(pid) is not None
                and bool(self._cgroups.pids(self._group(run_id)))
            )
            lost = None if alive else ExitStatus(255, at.directory.stat().st_mtime)
            return RunState(alive, pid if alive else 0, lost, started=False)
        if (status := self._exits.recorded(at)) is not None:
            return RunState(False, 0, status, started=started)
        if process.start_time(record.pid) == record.pid_started:
            paused = await in_thread(self._cgroups.frozen, self._group(run_id))
            return RunState(True, record.pid, None, paused, started)
        # Dead, and the monitor is about to say so (or dead itself, which ``wait`` finds out).
        return RunState(False, 0, await self._exits.wait(at, record), started=started)

    async def known(self) -> list[str]:
        return sorted(path.name for path in files.runs(self._paths).iterdir() if path.is_dir())

    # -- inside

    def _prepare(
        self, spec_: BundleSpec, at: RunFiles, oci: OciRuntime, made: list[RunFiles]
    ) -> spec.Bundle:
        """Everything before the first process, in one go. Blocks: it reads the image's passwd from
        a disk, may compile a filter (15 ms), and the first run of a runtime copies its program."""
        if oci.capabilities.binds_all_below:
            check_recursion(spec_, oci.name)
        bundle = self._bundle(spec_, takes_bpf=oci.capabilities.takes_bpf)
        _write_files(spec_, at, bundle, made)
        oci.executable()
        return bundle

    def _bundle(self, spec_: BundleSpec, *, takes_bpf: bool) -> spec.Bundle:
        check_sources(spec_)
        check_targets(spec_)
        if spec_.host.init and self._facts.init_path is None:
            # installed since the daemon has started, maybe because an error said so
            self._facts = replace(self._facts, init_path=components.find(components.INIT))
        return spec.build(spec_, self._facts, cgroup=self._group(spec_.id), takes_bpf=takes_bpf)

    def _exec_process(self, at: RunFiles, record: RunRecord, spec_: ExecSpec) -> bytes:
        # In a thread: the container's passwd is on a disk.
        who = users.resolve(Path(record.rootfs), spec_.user or record.user, record.group_add)
        return spec.exec_process(at.process.read_bytes(), spec_, who, self._facts)

    def _set_apart(self, monitor_pid: int, started: int) -> None:
        """Take the monitor out of the daemon's own group, with which a service manager kills
        whatever the daemon has started, and in which memory is accounted to the daemon."""
        if process.start_time(monitor_pid) != started:
            return  # a short run's monitor has ended already
        group = f"{self._config.instance.cgroup}/{_MONITOR_GROUP}"
        try:
            self._cgroups.join(group, monitor_pid, _MONITOR_TREES)
        except ProcessLookupError:
            pass  # it has ended just now
        except OSError as error:
            log.warning("monitor %d stays in the daemon's cgroup: %s", monitor_pid, error)

    def _group(self, run_id: str) -> str:
        return f"{self._config.instance.cgroup}/{run_id}"

    def _complete(self, run_id: str) -> tuple[RunFiles, RunRecord]:
        at = RunFiles.of(self._paths, run_id)
        record = at.record()
        if record is None:
            raise NoSuchRun(f"run {run_id} was never completely created")
        return at, record

    def _living(self, run_id: str) -> tuple[RunFiles, RunRecord]:
        at, record = self._complete(run_id)
        if process.start_time(record.pid) != record.pid_started:
            raise NoSuchRun(f"run {run_id} has ended already")
        return at, record

    def _signal_group(self, group: str, signal: int) -> int:
        """Signal every process of a group; returns how many there were."""
        sent = 0
        for pid in self._cgroups.pids(group):
            sent += process.send_signal(pid, 0, signal)
        return sent

    def _oom_killed(self, at: RunFiles) -> bool:
        return self._cgroups.oom_kills(self._group(at.id)) > 0


def _write_files(
    spec_: BundleSpec, at: RunFiles, bundle: spec.Bundle, made: list[RunFiles]
) -> None:
    """What the runtime and the monitor find when they start. ``made`` gets ``at`` as soon as there
    is something to take away again. Blocks.

    Raises:
        Conflict: the run exists already.
    """
    try:
        at.directory.mkdir(mode=0o700)
    except FileExistsError:
        raise Conflict(f"run {spec_.id} exists already: delete it first") from None
    made.append(at)
    if spec_.working_dir:
        _make_working_dir(spec_.rootfs, spec_.working_dir)
    at.config.write_bytes(bundle.config)
    at.process.write_bytes(bundle.process)
    if spec_.log_path is not None:
        spec_.log_path.parent.mkdir(parents=True, exist_ok=True)


def _make_working_dir(rootfs: Path, directory: str) -> None:
    """Docker makes a missing working directory, as root.

    Raises:
        InvalidArgument: there is a file in the way.
    """
    if not directory.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{directory}' is invalid, it needs to be an absolute path"
        )
    try:
        os.close(inroot.open_in(rootfs, directory, os.O_PATH | os.O_DIRECTORY))
    except FileNotFoundError:
        try:
            inroot.make_directories_in(rootfs, directory)
        except OSError as error:
            raise Internal(f"cannot make the working directory {directory}: {error}") from None
    except NotADirectoryError:
        raise InvalidArgument(f"Cannot mkdir: {directory} is not a directory") from None


@asynccontextmanager
async def open_runs(
    config: DaemonConfig, clock: Clock, runtimes: Registry[OciRuntime]
) -> AsyncIterator[LinuxRuns]:
    """The runtime of this host. Leaving the context lets every run run on, and closes ``runtimes``.

    Raises:
        Unsupported: conmon is not installed.
        OSError: the cgroup trees that are needed could not be mounted.
    """
    tasks = Tasks()
    runs = LinuxRuns(config, clock, tasks, runtimes)
    tasks.spawn(runs.rotate_logs(), name="rotate logs")
    tasks.spawn(runs.warm_up(), name="compile the default seccomp profile")
    try:
        yield runs
    finally:
        await tasks.close()
        await runs.close()
