"""A container's output and input: ``attach`` (hijacked) and ``logs`` (streamed)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from aiohttp import web

from sampan.api import timestamps
from sampan.api.docker_request import DockerRequest, closing
from sampan.api.errors import sentence_of
from sampan.api.frames import content_type, error_frame, log_bytes, parse_detach_keys
from sampan.api.hijack import Hijacked, Pumping, pump, take_over
from sampan.engine.contract import LogRequest
from sampan.errors import Conflict, InvalidArgument, SampanError
from sampan.http.router import Route
from sampan.runtime.contract import LogEntry
from sampan.store.events import Event
from sampan.store.records import Container


async def attach(call: DockerRequest) -> web.StreamResponse:
    engine = call.services.engine
    container = engine.get(call.path["id"])
    spec = container.spec
    keys = parse_detach_keys(call.text("detachKeys"))
    live, replay = call.flag("stream"), call.flag("logs")
    stdin = call.flag("stdin") and live and spec.open_stdin
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if container.run is not None and container.run.paused and container.running:
        raise Conflict(f"container {container.id} is paused, unpause the container before attach")
    # Everything that can fail as an HTTP answer has to happen before the connection is raw.
    stream = await engine.attach(container.id) if live else None
    raw = take_over(call.request, content_type(call.version, tty=spec.tty))
    try:
        if replay:
            logs = engine.logs(container.id, LogRequest(stdout=stdout, stderr=stderr))
            async for batch in logs:
                await raw.write(log_bytes(batch, tty=spec.tty, stamp=False, details=b""))
        if stream is not None:
            how = Pumping(
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                tty=spec.tty,
                close_stdin=spec.stdin_once and not spec.tty,
                detach_keys=keys if spec.tty and stdin else b"",
            )
            _publish(call, container, "attach")
            if await pump(raw, stream, how) == "detached":
                _publish(call, container, "detach")
    except ConnectionError:
        pass  # the client is gone
    except SampanError as error:
        with suppress(ConnectionError):
            await raw.write(error_frame(sentence_of(error)))
    finally:
        if stream is not None:
            await stream.close()
        await raw.finish()
    return Hijacked()


def _publish(call: DockerRequest, container: Container, action: str) -> None:
    attributes = {**container.spec.labels, "image": container.spec.image, "name": container.name}
    call.services.events.publish(Event("container", action, container.id, attributes))


async def logs(call: DockerRequest) -> web.StreamResponse:
    engine = call.services.engine
    container = engine.get(call.path["id"])
    request = log_request(call)
    tty, stamp = container.spec.tty, call.flag("timestamps")
    details = engine.log_details(container.id) + b" " if call.flag("details") else b""
    # What fails at once (log driver "none") is an HTTP error; with follow, nothing may come for
    # long, and the head must not wait for it.
    async with closing(engine.logs(container.id, request)) as batches:
        first = None if request.follow else await anext(batches, None)
        response = await call.stream(content_type(call.version, tty=tty))
        await _send_logs(response, first, batches, tty=tty, stamp=stamp, details=details)
        return response


async def _send_logs(
    response: web.StreamResponse,
    first: list[LogEntry] | None,
    rest: AsyncIterator[list[LogEntry]],
    *,
    tty: bool,
    stamp: bool,
    details: bytes,
) -> None:
    try:
        if first is not None:
            await response.write(log_bytes(first, tty=tty, stamp=stamp, details=details))
        async for batch in rest:
            if batch:
                await response.write(log_bytes(batch, tty=tty, stamp=stamp, details=details))
    except SampanError as error:
        await response.write(error_frame(sentence_of(error)))


def log_request(call: DockerRequest) -> LogRequest:
    """What of a log is asked for.

    Raises:
        InvalidArgument.
    """
    stdout, stderr = call.flag("stdout"), call.flag("stderr")
    if not (stdout or stderr):
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    now = call.services.clock.now()
    return LogRequest(
        follow=call.flag("follow"),
        tail=tail(call.text("tail")),
        since_ns=timestamps.parse_ns(call.text("since"), "since", now=now),
        until_ns=timestamps.parse_ns(call.text("until"), "until", now=now),
        stdout=stdout,
        stderr=stderr,
    )


def tail(written: str) -> int | None:
    """A parameter of logs: ``all`` (also what is no number, or negative) means everything."""
    try:
        lines = int(written)
    except ValueError:
        return None
    return lines if lines >= 0 else None


ROUTES = (
    Route("POST", "/containers/{id:path}/attach", attach, streams=True, hijacks=True),
    Route("GET", "/containers/{id:path}/logs", logs, streams=True),
)
