"""Logs of services and of single tasks, merged over the nodes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from urllib.parse import quote_plus

from aiohttp import web

from sampan.api import cluster
from sampan.api.docker_request import DockerRequest, closing
from sampan.api.errors import sentence_of
from sampan.api.frames import content_type, error_frame, frame, nano_stamp
from sampan.api.routes.attach import log_request
from sampan.cluster.find import find, find_task
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.protocol.task_logs import TaskLogEntry
from sampan.cluster.records import Service, Task
from sampan.errors import SampanError, Unsupported
from sampan.http.router import Route

_PREFIX = "com.docker.swarm."


async def service_logs(call: DockerRequest) -> web.StreamResponse:
    parts = await cluster.to_read(call)
    state = parts.store.state
    service = find(state, Service, call.path["id"])
    container = service.spec.task_template.container_spec
    tasks = sorted(state.tasks_of(service.id).values(), key=lambda task: task.created_at)
    tty = container is not None and container.tty
    return await _answer(call, parts, tasks, service_id=service.id, tty=tty)


async def task_logs(call: DockerRequest) -> web.StreamResponse:
    parts = await cluster.to_read(call)
    task = find_task(parts.store.state, call.path["id"])
    container = task.spec.container_spec
    tty = container is not None and container.tty
    return await _answer(call, parts, [task], service_id="", tty=tty)


async def _answer(
    call: DockerRequest, parts: ManagerParts, tasks: Sequence[Task], *, service_id: str, tty: bool
) -> web.StreamResponse:
    request = log_request(call)
    if parts.logs is None:
        raise Unsupported("logs of tasks cannot be read by this manager: ask another")
    pages = _Lines(
        parts, tasks, tty=tty, stamp=call.flag("timestamps"), details=call.flag("details")
    )
    entries = parts.logs.read([task.id for task in tasks], request, service_id=service_id)
    async with closing(entries) as batches:
        # With follow, nothing may come for long, and the head must not wait for it.
        first = None if request.follow else await anext(batches, None)
        response = await call.stream(content_type(call.version, tty=tty))
        await _send(response, first, batches, pages)
        return response


async def _send(
    response: web.StreamResponse,
    first: Sequence[TaskLogEntry] | None,
    rest: AsyncIterator[Sequence[TaskLogEntry]],
    pages: _Lines,
) -> None:
    try:
        if first:
            await response.write(pages.render(first))
        async for batch in rest:
            if batch:
                await response.write(pages.render(batch))
    except SampanError as error:
        await response.write(error_frame(sentence_of(error)))


class _Lines:
    """Entries as clients expect them: ``[TIME ][ATTRIBUTES ]LINE``, in frames unless there is a
    terminal. The docker CLI reads the task and node of each line out of its attributes."""

    def __init__(
        self,
        parts: ManagerParts,
        tasks: Sequence[Task],
        *,
        tty: bool,
        stamp: bool,
        details: bool,
    ) -> None:
        self._parts = parts
        self._on_node = {task.node_id: task.id for task in tasks}
        self._tty, self._stamp, self._details = tty, stamp, details
        self._attributes: dict[str, bytes] = {}

    def render(self, entries: Sequence[TaskLogEntry]) -> bytes:
        return b"".join(self._one(entry) for entry in entries)

    def _one(self, entry: TaskLogEntry) -> bytes:
        line = entry.line
        if self._details:
            # A notice to the user is shown as a line of a task on the node that it is about: the
            # frame that is meant for errors would end the stream for most clients.
            task_id = entry.task_id or self._on_node.get(entry.node_id, "")
            line = self._context(task_id, entry.node_id) + b" " + line
        if self._stamp:
            line = nano_stamp(entry.time_ns) + b" " + line
        return line if self._tty else frame(entry.stream, line)

    def _context(self, task_id: str, node_id: str) -> bytes:
        known = self._attributes.get(task_id)
        if known is None:
            task = self._parts.store.state.tasks.get(task_id)
            words = {
                "node.id": node_id,
                "service.id": task.service_id if task is not None else "",
                "task.id": task_id,
            }
            known = self._attributes[task_id] = ",".join(
                f"{quote_plus(_PREFIX + name)}={quote_plus(value)}"
                for name, value in sorted(words.items())
            ).encode()
        return known


ROUTES = (
    Route("GET", "/services/{id}/logs", service_logs, streams=True),
    Route("GET", "/tasks/{id}/logs", task_logs, streams=True),
)
