"""Processes started in a running container."""

from __future__ import annotations

from contextlib import suppress

from aiohttp import web
from msgspec import UNSET

from sampan.api.docker_request import DockerRequest
from sampan.api.errors import sentence_of
from sampan.api.frames import content_type, frame, parse_detach_keys
from sampan.api.hijack import Hijacked, Pumping, pump, take_over
from sampan.api.routes.lifecycle import window
from sampan.api.types import containers as wire
from sampan.api.types.common import IdResponse
from sampan.engine.contract import ExecRequest, ExecState, NotRunning
from sampan.errors import Conflict, InvalidArgument, SampanError
from sampan.http.router import Route
from sampan.runtime.contract import AttachStream


async def create(call: DockerRequest) -> web.Response:
    body = await call.body(wire.EXEC_CREATE_DECODER)
    args = (body.cmd,) if isinstance(body.cmd, str) else tuple(body.cmd or ())
    if not args:
        raise InvalidArgument("No exec command specified")
    parse_detach_keys(body.detach_keys or "")
    exec_id = await call.services.engine.exec_create(
        call.path["id"],
        ExecRequest(
            args=args,
            env=tuple(body.env or ()),
            user=body.user or "",
            working_dir=body.working_dir or "",
            tty=bool(body.tty),
            attach_stdin=bool(body.attach_stdin),
            attach_stdout=bool(body.attach_stdout),
            attach_stderr=bool(body.attach_stderr),
            privileged=bool(body.privileged),
            detach_keys=body.detach_keys or "",
            console_size=body.console_size or (0, 0),
        ),
    )
    return call.json(IdResponse(id=exec_id), status=201)


async def start(call: DockerRequest) -> web.StreamResponse:
    engine, exec_id = call.services.engine, call.path["id"]
    body = await call.body(wire.EXEC_START_DECODER, default=wire.ExecStartBody())
    state = engine.exec_inspect(exec_id)
    if state.running:
        raise Conflict(f"exec command {exec_id} is already running")
    if state.exit_code is not None:
        raise Conflict(f"exec command {exec_id} has already run")
    size = body.console_size or (0, 0)
    if size != (0, 0) and not (body.tty or state.tty):
        raise InvalidArgument("a console size is for an exec with a terminal: set Tty")
    if body.detach:
        unheard = await engine.exec_start(exec_id, console_size=size)
        call.services.tasks.spawn(_drain(unheard), name=f"exec/{exec_id[:12]}/detached")
        return call.empty(200)
    if not engine.get(state.container_id).running:
        raise NotRunning(state.container_id)
    # The start says how the stream is written, whatever the exec is.
    tty = bool(body.tty)
    try:
        stream = await engine.exec_start(exec_id, console_size=size)
    except SampanError as error:
        # A command that cannot be executed is told in the stream, as output, and by its exit code
        # (126, 127): that is where clients look.
        return await _told(call, error, tty=tty)
    return await _pumped(call, stream, state, tty=tty)


async def _told(call: DockerRequest, error: SampanError, *, tty: bool) -> Hijacked:
    raw = take_over(call.request, content_type(call.version, tty=tty))
    message = f"{sentence_of(error)}\r\n".encode()
    with suppress(ConnectionError):
        await raw.write(message if tty else frame("stdout", message))
    await raw.finish()
    return Hijacked()


async def _pumped(
    call: DockerRequest, stream: AttachStream, state: ExecState, *, tty: bool
) -> Hijacked:
    try:
        raw = take_over(call.request, content_type(call.version, tty=tty))
    except BaseException:
        await stream.close()
        raise
    how = Pumping(
        stdin=state.open_stdin,
        stdout=state.open_stdout,
        stderr=state.open_stderr,
        tty=tty,
        close_stdin=not state.tty,
        detach_keys=_detach_keys(state),
    )
    try:
        await pump(raw, stream, how)
    except SampanError as error:
        message = f"{sentence_of(error)}\r\n".encode()
        with suppress(ConnectionError):
            await raw.write(message if tty else frame("stdout", message))
    finally:
        await stream.close()
        await raw.finish()
    return Hijacked()


def _detach_keys(state: ExecState) -> bytes:
    return parse_detach_keys(state.detach_keys) if state.tty and state.open_stdin else b""


async def _drain(stream: AttachStream) -> None:
    """Nobody listens: the process must not be stuck in a write all the same."""
    try:
        await stream.close_stdin()
        async for _ in stream.output():
            pass
    finally:
        await stream.close()


async def inspect(call: DockerRequest) -> web.Response:
    state = call.services.engine.exec_inspect(call.path["id"])
    return call.json(
        wire.ExecInspect(
            id=state.id,
            running=state.running,
            exit_code=state.exit_code,
            process_config=wire.ExecProcessConfig(
                tty=state.tty,
                entrypoint=state.args[0] if state.args else "",
                arguments=list(state.args[1:]),
                privileged=state.privileged,
                user=state.user or UNSET,
            ),
            open_stdin=state.open_stdin,
            open_stderr=state.open_stderr,
            open_stdout=state.open_stdout,
            can_remove=not state.running and state.exit_code is not None,
            container_id=state.container_id,
            pid=state.pid,
        )
    )


async def resize(call: DockerRequest) -> web.Response:
    rows, columns = window(call)
    await call.services.engine.exec_resize(call.path["id"], rows, columns)
    return call.empty(200)


ROUTES = (
    Route("POST", "/containers/{id:path}/exec", create),
    Route("POST", "/exec/{id}/start", start, streams=True, hijacks=True),
    Route("POST", "/exec/{id}/resize", resize),
    Route("GET", "/exec/{id}/json", inspect),
)
