"""Pending tasks and rooms in, decisions out. Pure: nothing is read or written beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from sampan.cluster.records import ClusterNetwork, Task
from sampan.cluster.scheduler.filters import Bound
from sampan.cluster.scheduler.ranking import Tree, descriptors
from sampan.cluster.scheduler.room import Room
from sampan.cluster.spec import GenericResource


@dataclass(frozen=True, slots=True)
class Placed:
    task: Task
    node_id: str
    generic_resources: tuple[GenericResource, ...]


@dataclass(frozen=True, slots=True)
class Unplaced:
    task: Task
    why: str
    """For the user, in Docker's words."""


def plan(
    tasks: Iterable[Task],
    rooms: Mapping[str, Room],
    networks: Mapping[str, ClusterNetwork],
    failures: Callable[[str, str], int],
) -> tuple[list[Placed], list[Unplaced]]:
    """Place what can be placed; ``rooms`` shrink by it.

    Tasks that were made from the same specification of a service are alike: the filters look at
    each node once for all of them, and again only at a node that has just been given one.

    Args:
        failures: (service id, node id) -> failures lately.
    """
    placed: list[Placed] = []
    unplaced: list[Unplaced] = []
    groups: dict[tuple[str, int], list[Task]] = {}
    for task in tasks:
        if task.node_id:
            _bound(task, rooms, networks, placed, unplaced)
        else:
            groups.setdefault((task.service_id, task.spec_version), []).append(task)
    everywhere = list(rooms.values())
    for (service_id, _), alike in groups.items():
        filters = Bound(alike[0], _drivers(alike[0], networks))
        spread = descriptors(alike[0].spec.placement)
        fitting = [room for room in everywhere if filters.fits(room)]
        tree = Tree(fitting, spread, service_id, partial(failures, service_id))
        why = ""
        for task in alike:

            def place(room: Room, task: Task = task) -> None:
                placed.append(Placed(task, room.node.id, room.place(task)))

            if not tree.best(filters.fits, task, place):
                why = why or _sentence(filters.explain(everywhere))
                unplaced.append(Unplaced(task, why))
    return placed, unplaced


def _bound(
    task: Task,
    rooms: Mapping[str, Room],
    networks: Mapping[str, ClusterNetwork],
    placed: list[Placed],
    unplaced: list[Unplaced],
) -> None:
    """A task whose node is given: a global service's, or that of a container made by hand."""
    room = rooms.get(task.node_id)
    if room is None:
        unplaced.append(Unplaced(task, "no suitable node"))
        return
    filters = Bound(task, _drivers(task, networks))
    if filters.fits(room):
        placed.append(Placed(task, room.node.id, room.place(task)))
    else:
        unplaced.append(Unplaced(task, filters.explain([room])))


def _drivers(task: Task, networks: Mapping[str, ClusterNetwork]) -> list[str]:
    return [
        network.spec.driver
        for place in task.attachments
        if (network := networks.get(place.network_id)) is not None
    ]


def _sentence(explanation: str) -> str:
    return f"no suitable node ({explanation})" if explanation else "no suitable node"
