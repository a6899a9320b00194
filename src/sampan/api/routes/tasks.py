"""Tasks of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from aiohttp import web

from sampan.api import cluster
from sampan.api.docker_request import DockerRequest
from sampan.api.filters import Filters
from sampan.api.translate import cluster as out
from sampan.cluster.control.services import up_to_date
from sampan.cluster.control.tasks import matching, wanted_state
from sampan.cluster.errors import Ambiguous
from sampan.cluster.find import find, find_node, find_task
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.model import State
from sampan.cluster.records import Object, Service, Task
from sampan.cluster.states import TaskState
from sampan.errors import InvalidArgument, NotFound
from sampan.http.router import Route

FILTERS = ("_up-to-date", "desired-state", "id", "label", "name", "node", "runtime", "service")

O = TypeVar("O", bound=Object)  # noqa: E741


async def list_tasks(call: DockerRequest) -> web.Response:
    parts = await cluster.to_read(call)
    state = parts.store.state
    filters = Filters.parse(call.text("filters"), FILTERS)
    services, nodes = _services(state, filters), _nodes(parts, filters)
    found = matching(state, _question(state, filters), services=services, nodes=nodes)
    pages = out.TaskPages(state)
    return call.json([pages.body(task) for task in found])


def _question(state: State, filters: Filters) -> Callable[[Task], bool]:
    desired = frozenset(_state(word) for word in filters.get("desired-state", ()))
    fresh = filters.flag("_up-to-date") if "_up-to-date" in filters else None

    def wants(task: Task) -> bool:
        if task.spec.network_attachment_spec is not None:
            return False  # stands for a container that is nobody's task
        if desired and wanted_state(task) not in desired:
            return False
        if fresh is not None and fresh != _fresh(state, task):
            return False
        return (
            filters.prefix("id", task.id)
            and filters.prefix("name", task.annotated_name)
            and filters.labels(task.service_labels)
            and filters.exact("runtime", task.spec.runtime or "container")
        )

    return wants


def _fresh(state: State, task: Task) -> bool:
    service = state.services.get(task.service_id)
    return service is not None and up_to_date(service, task)


def _state(word: str) -> TaskState:
    try:
        return TaskState.parse(word)
    except KeyError as error:
        raise InvalidArgument(f"Invalid desired_state filter: '{word}'") from error


def _services(state: State, filters: Filters) -> list[str] | None:
    if "service" not in filters:
        return None
    return _ids(filters["service"], lambda ref: find(state, Service, ref))


def _nodes(parts: ManagerParts, filters: Filters) -> list[str] | None:
    if "node" not in filters:
        return None
    return _ids(filters["node"], lambda ref: find_node(parts.store.state, ref, parts.node_id))


def _ids(refs: Iterable[str], look: Callable[[str], O]) -> list[str]:
    """Of those that exist. One that was removed may still have tasks, which name it by its id."""
    found = []
    for ref in refs:
        try:
            found.append(look(ref).id)
        except Ambiguous:
            raise
        except NotFound:
            found.append(ref)
    return found


async def inspect(call: DockerRequest) -> web.Response:
    state = (await cluster.to_read(call)).store.state
    return call.json(out.TaskPages(state).body(find_task(state, call.path["id"])))


ROUTES = (
    Route("GET", "/tasks", list_tasks),
    Route("GET", "/tasks/{id}", inspect),
)
