"""A runtime without a kernel: runs are tasks, programs are coroutines.

It fulfils ``sampan.runtime.contract.Runs`` (``sampan.testing.contracts.runs`` holds it and the
real one to the same behaviour), so that an engine can be tested without root, in microseconds.
One ``FakeRuns`` is a *host*: hand the same object to a second engine to play a daemon's restart.
"""

from __future__ import annotations

import asyncio
import signal as signals
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sampan.aio import Clock, SystemClock, Tasks
from sampan.errors import Conflict
from sampan.kernel.usage import Usage
from sampan.runtime import users
from sampan.runtime.contract import (
    AttachStream,
    BundleSpec,
    CommandNotFound,
    CreatedRun,
    ExecProcess,
    ExecSpec,
    ExitStatus,
    NoSuchRun,
    RunState,
    Stream,
)
from sampan.store.records import Resources

TTY_EOF = b"\x04"


class Stdio:
    """A fake process's three streams; any number of clients."""

    def __init__(self, *, tty: bool, log_path: Path | None) -> None:
        self.tty = tty
        self._log_path = log_path
        self._clients: list[asyncio.Queue[tuple[Stream, bytes] | None]] = []
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue(maxsize=16)
        self.stdin_closed = False
        self.closed = False

    def print(self, data: bytes, stream: Stream = "stdout") -> None:
        """Write to every client and to the log file, in the monitor's format."""
        if self.tty:
            stream = "stdout"
            data = data.replace(b"\n", b"\r\n")
        for client in self._clients:
            client.put_nowait((stream, data))
        if self._log_path is not None:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000000000+00:00"
            with self._log_path.open("ab") as log:
                for line in data.splitlines(keepends=True):
                    tag = b"F" if line.endswith(b"\n") else b"P"
                    text = line.removesuffix(b"\n")
                    log.write(b"%s %s %s %s\n" % (stamp.encode(), stream.encode(), tag, text))

    async def read(self) -> bytes:
        """The next chunk of stdin; empty at its end."""
        if self.stdin_closed and self._stdin.empty():
            return b""
        return await self._stdin.get()

    def client(self) -> asyncio.Queue[tuple[Stream, bytes] | None]:
        queue: asyncio.Queue[tuple[Stream, bytes] | None] = asyncio.Queue()
        if self.closed:
            queue.put_nowait(None)
        else:
            self._clients.append(queue)
        return queue

    def leave(self, queue: asyncio.Queue[tuple[Stream, bytes] | None]) -> None:
        if queue in self._clients:
            self._clients.remove(queue)
        queue.put_nowait(None)

    async def feed(self, data: bytes) -> None:
        if self.stdin_closed or self.closed:
            raise BrokenPipeError("stdin is closed")
        await self._stdin.put(data)

    def end_stdin(self) -> None:
        if not self.stdin_closed:
            self.stdin_closed = True
            if self._stdin.empty():
                self._stdin.put_nowait(b"")

    def close(self) -> None:
        self.closed = True
        for client in self._clients:
            client.put_nowait(None)
        self._clients.clear()


@dataclass(eq=False)
class FakeProcess:
    """What a program sees of itself."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    io: Stdio
    pid: int
    size: tuple[int, int] = (0, 0)
    ignores: frozenset[int] = frozenset()
    """Signals that do nothing, besides SIGKILL which always kills."""
    done: asyncio.Event = field(default_factory=asyncio.Event)
    exit: ExitStatus | None = None
    task: asyncio.Task[None] | None = None
    killed_by: int = 0


Program = Callable[[FakeProcess], Awaitable[int]]


async def _true(process: FakeProcess) -> int:
    return 0


async def _false(process: FakeProcess) -> int:
    return 1


async def _echo(process: FakeProcess) -> int:
    process.io.print(" ".join(process.args[1:]).encode() + b"\n")
    return 0


async def _cat(process: FakeProcess) -> int:
    while data := await process.io.read():
        process.io.print(data)
    return 0


async def _sleep(process: FakeProcess) -> int:
    await asyncio.sleep(float(process.args[1]))
    return 0


async def _env(process: FakeProcess) -> int:
    for name, value in process.env.items():
        process.io.print(f"{name}={value}\n".encode())
    return 0


async def _sh(process: FakeProcess) -> int:
    """``sh -c`` with lines of "echo WORDS", "exit N", "sleep N", "cat" joined by semicolons;
    ">&2" at the end of an echo sends it to stderr. Without -c: echoes its stdin."""
    if len(process.args) < 3:
        return await _cat(process)
    for command in process.args[2].split(";"):
        words = command.split()
        match words:
            case ["exit", code]:
                return int(code)
            case ["sleep", seconds]:
                await asyncio.sleep(float(seconds))
            case ["cat"]:
                await _cat(process)
            case ["echo", *rest, ">&2"]:
                process.io.print(" ".join(rest).encode() + b"\n", "stderr")
            case ["echo", *rest]:
                process.io.print(" ".join(rest).encode() + b"\n")
            case _:
                process.io.print(f"sh: {command}: not found\n".encode(), "stderr")
                return 127
    return 0


PROGRAMS: dict[str, Program] = {
    "true": _true,
    "false": _false,
    "echo": _echo,
    "cat": _cat,
    "sleep": _sleep,
    "env": _env,
    "sh": _sh,
}


class FakeStream:
    """AttachStream of a fake process."""

    def __init__(self, io: Stdio) -> None:
        self._io = io
        self._queue = io.client()

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        while (item := await self._queue.get()) is not None:
            yield item

    async def write(self, data: bytes) -> None:
        await self._io.feed(data)

    async def close_stdin(self) -> None:
        if not self._io.tty:
            self._io.end_stdin()

    async def close(self) -> None:
        self._io.leave(self._queue)


class FakeExec(FakeStream):
    """ExecProcess of a fake process."""

    def __init__(self, process: FakeProcess, host: FakeRuns) -> None:
        super().__init__(process.io)
        self._process, self._host = process, host

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait(self) -> int:
        await self._process.done.wait()
        assert self._process.exit is not None
        return self._process.exit.exit_code

    async def resize(self, rows: int, columns: int) -> None:
        self._process.size = (rows, columns)

    async def kill(self, signal: int) -> None:
        self._host.signal(self._process, signal)


@dataclass(eq=False)
class FakeRun:
    spec: BundleSpec
    process: FakeProcess
    execs: list[FakeProcess] = field(default_factory=list)
    started: bool = False
    paused: bool = False
    resources: Resources | None = None


class FakeRuns:
    """See the module. ``programs`` maps a command's base name to what it does; add your own."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.programs = dict(PROGRAMS)
        self.runs: dict[str, FakeRun] = {}
        self._tasks = Tasks()
        self._next_pid = 100_000

    # -- what tests reach for

    def finish(self, run_id: str, exit_code: int = 0, *, oom_killed: bool = False) -> None:
        """End a run as if its process had exited."""
        run = self._get(run_id)
        for process in (*run.execs, run.process):
            self._end(process, exit_code, oom_killed=oom_killed)

    def signal(self, process: FakeProcess, signal: int) -> None:
        if signal == signals.SIGKILL or (signal and signal not in process.ignores):
            self._end(process, 128 + signal)

    async def close(self) -> None:
        await self._tasks.close()

    # -- Runs

    async def create(self, spec: BundleSpec, *, runtime: str) -> CreatedRun:
        if spec.id in self.runs:
            raise Conflict(f"run {spec.id} exists already: delete it first")
        self._program(spec.args)
        process = self._process(spec.args, spec.env, Stdio(tty=spec.tty, log_path=spec.log_path))
        if not spec.open_stdin:
            process.io.end_stdin()
        self.runs[spec.id] = FakeRun(spec, process)
        return CreatedRun(process.pid, process.pid, process.pid + 1)

    async def attach(self, run_id: str) -> AttachStream:
        return FakeStream(self._get(run_id).process.io)

    async def start(self, run_id: str) -> None:
        run = self._get(run_id)
        if run.started:
            raise Conflict(f"run {run_id} has been started already")
        run.started = True
        self._launch(run.process)

    async def wait(self, run_id: str) -> ExitStatus:
        process = self._get(run_id).process
        await process.done.wait()
        assert process.exit is not None
        return process.exit

    async def kill(self, run_id: str, signal: int, *, everyone: bool = False) -> None:
        run = self._live(run_id)
        for process in (*run.execs, run.process) if everyone else (run.process,):
            self.signal(process, signal)

    async def pause(self, run_id: str) -> None:
        self._live(run_id).paused = True

    async def resume(self, run_id: str) -> None:
        self._live(run_id).paused = False

    async def resize(self, run_id: str, rows: int, columns: int) -> None:
        self._live(run_id).process.size = (rows, columns)

    async def update(self, run_id: str, resources: Resources) -> None:
        self._live(run_id).resources = resources

    async def pids(self, run_id: str) -> list[int]:
        run = self._get(run_id)
        return [p.pid for p in (run.process, *run.execs) if p.exit is None]

    async def usage(self, run_id: str) -> Usage:
        self._live(run_id)
        return Usage(pids=len(await self.pids(run_id)), memory_stat={})

    async def exec(self, spec: ExecSpec) -> ExecProcess:
        run = self._live(spec.run_id)
        self._program(spec.args)
        process = self._process(spec.args, spec.env, Stdio(tty=spec.tty, log_path=None))
        if not spec.stdin:
            process.io.end_stdin()
        run.execs.append(process)
        handle = FakeExec(process, self)
        self._launch(process)
        return handle

    async def check_user(self, run_id: str, user: str) -> None:
        users.resolve(self._live(run_id).spec.rootfs, user)

    async def inspect(self, run_id: str) -> RunState:
        run = self._get(run_id)
        alive = run.process.exit is None
        return RunState(
            alive, run.process.pid if alive else 0, run.process.exit, run.paused, run.started
        )

    async def delete(self, run_id: str) -> None:
        if (run := self.runs.get(run_id)) is not None:
            for process in (*run.execs, run.process):
                self._end(process, 128 + signals.SIGKILL)
            del self.runs[run_id]

    async def known(self) -> list[str]:
        return list(self.runs)

    # -- inside

    def _get(self, run_id: str) -> FakeRun:
        try:
            return self.runs[run_id]
        except KeyError:
            raise NoSuchRun(f"no such run: {run_id}") from None

    def _live(self, run_id: str) -> FakeRun:
        run = self._get(run_id)
        if run.process.exit is not None:
            raise NoSuchRun(f"run {run_id} has ended already")
        return run

    def _program(self, args: tuple[str, ...]) -> Program:
        try:
            return self.programs[args[0].rpartition("/")[2]]
        except KeyError:
            raise CommandNotFound(
                "failed to create task for container: failed to create shim task: OCI runtime "
                "create failed: unable to start container process: exec: "
                f'"{args[0]}": executable file not found in $PATH: unknown'
            ) from None

    def _process(self, args: tuple[str, ...], env: tuple[str, ...], io: Stdio) -> FakeProcess:
        self._next_pid += 2
        pairs = dict(entry.partition("=")[::2] for entry in env)
        return FakeProcess(args, pairs, io, self._next_pid)

    def _launch(self, process: FakeProcess) -> None:
        program = self._program(process.args)

        async def run() -> None:
            code = await program(process)
            process.task = None
            self._end(process, code)

        process.task = self._tasks.spawn(run(), name=f"fake process {process.pid}")

    def _end(self, process: FakeProcess, exit_code: int, *, oom_killed: bool = False) -> None:
        if process.exit is not None:
            return
        process.exit = ExitStatus(exit_code, self.clock.now(), oom_killed)
        if process.task is not None:
            process.task.cancel()
        process.io.close()
        process.done.set()
