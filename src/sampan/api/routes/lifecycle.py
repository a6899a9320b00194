"""A container's life: start, stop, restart, kill, pause, unpause, wait, resize."""

from __future__ import annotations

from contextlib import suppress
from typing import get_args

from aiohttp import web

from sampan.aio import Tasks
from sampan.api.docker_request import DockerRequest, encode
from sampan.api.errors import sentence_of
from sampan.api.types.containers import WaitBody, WaitError
from sampan.engine.contract import WaitCondition
from sampan.errors import InvalidArgument, NotFound, SampanError
from sampan.http.router import Route


async def start(call: DockerRequest) -> web.Response:
    await call.services.engine.start(call.path["id"])
    return call.empty()


async def stop(call: DockerRequest) -> web.Response:
    await call.services.engine.stop(
        call.path["id"], timeout_s=call.number("t"), signal=call.text("signal")
    )
    return call.empty()


async def restart(call: DockerRequest) -> web.Response:
    await call.services.engine.restart(
        call.path["id"], timeout_s=call.number("t"), signal=call.text("signal")
    )
    return call.empty()


async def kill(call: DockerRequest) -> web.Response:
    await call.services.engine.kill(call.path["id"], call.text("signal") or "SIGKILL")
    return call.empty()


async def pause(call: DockerRequest) -> web.Response:
    await call.services.engine.pause(call.path["id"])
    return call.empty()


async def unpause(call: DockerRequest) -> web.Response:
    await call.services.engine.unpause(call.path["id"])
    return call.empty()


async def resize(call: DockerRequest) -> web.Response:
    rows, columns = window(call)
    await call.services.engine.resize(call.path["id"], rows, columns)
    return call.empty(200)


def window(call: DockerRequest) -> tuple[int, int]:
    """``h`` and ``w``: rows and columns."""
    rows, columns = call.number("h", 0) or 0, call.number("w", 0) or 0
    if rows < 0 or columns < 0 or rows > 65535 or columns > 65535:
        raise InvalidArgument("a terminal's height and width are between 0 and 65535")
    return rows, columns


async def wait(call: DockerRequest) -> web.StreamResponse:
    """The head goes out as soon as the waiter is in place, because ``docker run`` waits for it
    before it starts the container."""
    engine = call.services.engine
    # the clients of 1.41 and before write one without a value when they mean the default
    written = "" if call.version < (1, 30) else call.text("condition")
    condition: WaitCondition = written or "not-running"  # type: ignore[assignment]
    if condition not in get_args(WaitCondition):
        raise InvalidArgument(f'invalid condition: "{written}"')
    container = engine.get(call.path["id"])
    tasks = Tasks()
    try:
        waiter = tasks.spawn(_exit_code(call, container.id, condition), name="wait")
        response = await call.stream("application/json")
        with suppress(ConnectionError):
            await response.write(encode(await waiter) + b"\n")
        return response
    finally:
        await tasks.close()


async def _exit_code(call: DockerRequest, container_id: str, condition: WaitCondition) -> WaitBody:
    try:
        status = await call.services.engine.wait(container_id, condition)
    except NotFound:
        # Removed in between: for who waits for that, it has happened.
        return WaitBody(status_code=0)
    except SampanError as error:
        return WaitBody(status_code=125, error=WaitError(message=sentence_of(error)))
    return WaitBody(status_code=status.exit_code)


ROUTES = (
    Route("POST", "/containers/{id:path}/start", start),
    Route("POST", "/containers/{id:path}/stop", stop),
    Route("POST", "/containers/{id:path}/restart", restart),
    Route("POST", "/containers/{id:path}/kill", kill),
    Route("POST", "/containers/{id:path}/pause", pause),
    Route("POST", "/containers/{id:path}/unpause", unpause),
    Route("POST", "/containers/{id:path}/resize", resize),
    Route("POST", "/containers/{id:path}/wait", wait, streams=True),
)
