"""Processes that join a running container."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import ExecRequest, ExecState, NoSuchExec, NotRunning
from sampan.engine.in_flight import InFlight
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.parts import Parts
from sampan.engine.spec.bundle import process_env
from sampan.engine.spec.defaults import merged_env, without_bare_names
from sampan.errors import Conflict, InvalidArgument, SampanError
from sampan.lookup import by_prefix
from sampan.runtime.contract import AttachStream, ExecProcess, ExecSpec, Stream
from sampan.store.records import Container

log = logging.getLogger(__name__)

KEPT_S = 300.0
"""An exec can be inspected this long after its end."""
EXIT_GRACE_S = 1.0
"""A stream's end is held back this long for the exit code to be known: clients ask for it next."""


@dataclass(eq=False, slots=True)
class _Exec:
    request: ExecRequest
    state: ExecState
    process: ExecProcess | None = None
    started: bool = False
    ended_at: float | None = None
    done: asyncio.Event = field(default_factory=asyncio.Event)


class _Output:
    """The process's stream, which ends when its exit code is known."""

    def __init__(self, item: _Exec, process: ExecProcess) -> None:
        self._item, self._process = item, process

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        async for chunk in self._process.output():
            yield chunk
        try:
            await asyncio.wait_for(self._item.done.wait(), EXIT_GRACE_S)
        except TimeoutError:
            return  # it closed its output and lives on

    async def write(self, data: bytes) -> None:
        await self._process.write(data)

    async def close_stdin(self) -> None:
        await self._process.close_stdin()

    async def close(self) -> None:
        await self._process.close()


class Execs:
    def __init__(
        self, parts: Parts, containers: ContainerIndex, in_flight: InFlight, emit: EventEmitter
    ) -> None:
        self._parts, self._containers, self._in_flight, self._emit = (
            parts,
            containers,
            in_flight,
            emit,
        )
        self._execs: dict[str, _Exec] = {}

    async def create(self, ref: str, request: ExecRequest) -> str:
        """See ``Engine.exec_create``."""
        container = self._joinable(ref)
        if not request.args:
            raise InvalidArgument("No exec command specified")
        if request.user:
            # Told here, where the answer is not yet a stream.
            await self._parts.runs.check_user(container.id, request.user)
            container = self._joinable(ref)
        self._reap()
        exec_id = secrets.token_hex(32)
        self._execs[exec_id] = _Exec(
            request,
            ExecState(
                id=exec_id,
                container_id=container.id,
                args=request.args,
                user=request.user or container.spec.user,
                tty=request.tty,
                open_stdin=request.attach_stdin,
                open_stdout=request.attach_stdout,
                open_stderr=request.attach_stderr,
                privileged=request.privileged,
                detach_keys=request.detach_keys,
            ),
        )
        self._emit_event("exec_create", container, self._execs[exec_id])
        return exec_id

    async def start(self, exec_id: str, console_size: tuple[int, int]) -> AttachStream:
        item = self._get(exec_id)
        if item.started:
            raise Conflict(f"exec {exec_id} has already run: create another")
        async with self._in_flight.locks.hold(item.state.container_id):
            # What freezes the container for a moment (a commit) has let it go.
            container = self._joinable(item.state.container_id)
        if item.started:
            raise Conflict(f"exec {exec_id} has already run: create another")
        item.started = True
        item.state = replace(item.state, running=True)
        try:
            process = await self._spawn(container, item, console_size)
        except BaseException as error:
            code = getattr(error, "exit_code", 126)
            self._ended(container, item, code)
            raise
        item.process = process
        item.state = replace(item.state, pid=process.pid)
        self._emit_event("exec_start", container, item)
        self._in_flight.tasks.spawn(
            self._watch(container, item, process), name=f"exec {exec_id[:12]}"
        )
        return _Output(item, process)

    def inspect(self, exec_id: str) -> ExecState:
        return self._get(exec_id).state

    async def resize(self, exec_id: str, rows: int, columns: int) -> None:
        process = self._get(exec_id).process
        if process is None:
            raise Conflict(f"exec {exec_id} is not running")
        await process.resize(rows, columns)

    def forget(self, container_id: str) -> None:
        """The container has gone."""
        for exec_id in [i for i, e in self._execs.items() if e.state.container_id == container_id]:
            del self._execs[exec_id]

    # -- inside

    def _joinable(self, ref: str) -> Container:
        container = self._containers.get(ref)
        if not container.running:
            raise NotRunning(container.id)
        if container.run and container.run.paused:
            raise Conflict(
                f"Container {container.name} is paused, unpause the container before exec"
            )
        return container

    async def _spawn(
        self, container: Container, item: _Exec, console_size: tuple[int, int]
    ) -> ExecProcess:
        request, state = item.request, item.state
        env = process_env(container.spec)
        if request.tty:
            env = merged_env(["TERM=xterm"], env)
        return await self._parts.runs.exec(
            ExecSpec(
                exec_id=state.id,
                run_id=container.id,
                args=request.args,
                env=without_bare_names(merged_env(env, request.env)),
                user=state.user,
                working_dir=request.working_dir or container.spec.working_dir or "/",
                tty=request.tty,
                stdin=request.attach_stdin,
                privileged=request.privileged,
                console_size=console_size if any(console_size) else request.console_size,
            )
        )

    async def _watch(self, container: Container, item: _Exec, process: ExecProcess) -> None:
        try:
            code = await process.wait()
        except SampanError as error:
            log.error("exec %s: %s", item.state.id[:12], error)
            code = 126
        self._ended(container, item, code)

    def _ended(self, container: Container, item: _Exec, code: int) -> None:
        item.state = replace(item.state, running=False, exit_code=code, pid=0)
        item.ended_at = self._parts.clock.monotonic()
        item.done.set()
        self._emit.container("exec_die", container, execID=item.state.id, exitCode=str(code))

    def _emit_event(self, action: str, container: Container, item: _Exec) -> None:
        command = " ".join(item.state.args)
        self._emit.container(f"{action}: {command}", container, execID=item.state.id)

    def _get(self, exec_id: str) -> _Exec:
        self._reap()
        return by_prefix(
            self._execs,
            exec_id,
            missing=lambda: NoSuchExec(exec_id),
            ambiguous=lambda _: NoSuchExec(exec_id),
        )

    def _reap(self) -> None:
        limit = self._parts.clock.monotonic() - KEPT_S
        for exec_id in [
            i for i, e in self._execs.items() if e.ended_at is not None and e.ended_at <= limit
        ]:
            del self._execs[exec_id]
