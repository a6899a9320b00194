"""Replicated and global services, place by place. Pure planners.

A plan looks at the places that are marked, so many at a time; when none is left it decides what
concerns all of them: which go, how many are missing, whose turn it is in a rollout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice

from sampan.cluster.loop import SLICE
from sampan.cluster.orchestrator.places import NO_PROGRESS, Key, RunningPlace, ServicePlaces
from sampan.cluster.orchestrator.plan import ServicePlan, down
from sampan.cluster.orchestrator.rollout import (
    NewPlaces,
    advance_rollout,
    is_rolling,
    progress_of,
    retire,
)
from sampan.cluster.orchestrator.slots import Slot, refill, release, settle
from sampan.cluster.placement import fulfils
from sampan.cluster.records import Node
from sampan.cluster.states import TaskState


@dataclass(slots=True)
class PlacesPlan:
    """What was looked at for a plan."""

    marks: list[tuple[Key, int]] = field(default_factory=list)
    """Places, each as it was marked: see ``ServicePlaces.looked_at``."""
    more: bool = False
    """Not everything has been done: go on in another turn."""


def plan_service(plan: ServicePlan, places: ServicePlaces, at_most: int = SLICE) -> PlacesPlan:
    """What is to be done now, for ``at_most`` places.

    Places that are created come on top, at most as many. Called again until there is no ``more``,
    each time with what was written before.
    """
    done = PlacesPlan()
    places.due(plan.now)
    if places.by_node:
        gone, wanted = set[Key](), len(places)
    else:
        mode = plan.service.spec.mode.replicated
        wanted = 1 if mode is None or mode.replicas is None else mode.replicas
        gone = _remove_surplus(plan, places, wanted, at_most, done)
        if done.more:
            return done
    slots: dict[Key, Slot] = {}
    for key, mark in islice(places.dirty.items(), at_most):
        done.marks.append((key, mark))
        if key not in gone:
            slots[key] = _look_at(plan, places, key)
    if len(places.dirty) > len(done.marks):
        done.more = True
        return done
    new_places = _fill_up(plan, places, wanted - (len(places) - len(gone)), at_most, done)
    if gone:
        done.more = True  # the rollout must not take their turn for one of theirs
    if not done.more:
        done.more = advance_rollout(plan, places, slots, new_places, at_most)
    return done


def _look_at(plan: ServicePlan, places: ServicePlaces, key: Key) -> Slot:
    """One place: what follows from its own tasks and their nodes."""
    place, before, plan.wake_at = places.slot(key), plan.wake_at, None
    if isinstance(key, str):
        settle(plan, place)
        rolling = _on_node(plan, place, plan.nodes.get(key))
    else:
        rolling = bool(place.tasks)
        if _calm(plan, place):
            rolling = is_rolling(plan.service)  # else it has no part in the sums
        else:
            settle(plan, place)
            if rolling:
                refill(plan, place)
                retire(plan, place)
            release(plan, place)
    places.rollout.note(key, progress_of(plan, place) if rolling else NO_PROGRESS)
    places.wake(key, plan.wake_at)
    plan.wake_at = before
    return place


def _calm(plan: ServicePlan, place: Slot) -> bool:
    """Its one task runs, as it shall: there is nothing to do. So are nearly all of those that are
    only looked at because the service has changed, or another manager leads."""
    if len(place.tasks) != 1:
        return False
    (task,) = place.tasks
    return (
        task.status.state == task.desired == TaskState.RUNNING
        and not plan.outdated(task)
        and not plan.lost(task)
    )


def _on_node(plan: ServicePlan, place: Slot, node: Node | None) -> bool:
    """A global service's place; whether it takes part in a rollout."""
    if node is None or not eligible(node, plan):
        for task in place.live:
            place.replace(plan.stop(task, "the service has no place on this node"))
        return False
    if node.spec.availability == "pause":
        release(plan, place)
        return False
    refill(plan, place)
    retire(plan, place)
    release(plan, place)
    return True


def eligible(node: Node, plan: ServicePlan) -> bool:
    """Whether a global service has a place on ``node``."""
    return (
        not down(node)
        and node.spec.availability != "drain"
        and fulfils(node, plan.service.spec.task_template.placement)
    )


# ---------------------------------------------------------------- how many there are


def _fill_up(
    plan: ServicePlan, places: ServicePlaces, missing: int, at_most: int, done: PlacesPlan
) -> NewPlaces:
    """Create what is missing of a replicated service's places."""
    new_places = NewPlaces()
    if places.by_node or missing <= 0:
        return new_places
    done.more = missing > at_most
    for slot in islice(places.free_slots(), min(missing, at_most)):
        place = Slot(slot=slot, node_id="", tasks=[])
        refill(plan, place)
        new_places.count(progress_of(plan, place))
    return new_places


def _remove_surplus(
    plan: ServicePlan, places: ServicePlaces, wanted: int, at_most: int, done: PlacesPlan
) -> set[Key]:
    """Remove places of which there are too many; returns those that go now."""
    surplus = len(places) - wanted
    if surplus <= 0:
        places.leaving, places.leaving_for = [], None
        places.running_places.clear()
        return set()
    chosen_for = (plan.service.version, wanted)
    if places.leaving_for != chosen_for:
        if not _survey(plan, places, at_most):
            done.more = True
            return set()
        places.leaving = choose_surplus(places, wanted)
        places.leaving_for = chosen_for
    going = set[Key]()
    for key in places.leaving:
        if len(going) == min(surplus, at_most):
            break
        if (tasks := places.slot(key).tasks) and isinstance(key, int):
            going.add(key)
            for task in tasks:
                plan.remove(task, f"{wanted} replicas are wanted")
    if not going:  # others went meanwhile: choose again
        places.leaving_for = None
    done.more = len(going) < surplus
    return going


def _survey(plan: ServicePlan, places: ServicePlaces, at_most: int) -> bool:
    """Find out how places stand, ``at_most`` of them; whether all are known now."""
    unknown = [key for key in places if key not in places.running_places]
    for key in unknown[:at_most]:
        alive = [task for task in places.slot(key).live if not plan.lost(task)]
        running = any(task.status.state == TaskState.RUNNING for task in alive)
        places.running_places[key] = RunningPlace(running, alive[0].node_id if alive else "")
    return len(unknown) <= at_most


def choose_surplus(places: ServicePlaces, wanted: int) -> list[Key]:
    """Which places go: running ones stay rather than others, and of these first one on every node,
    then a second, so that what stays is spread."""
    on_node: Counter[str] = Counter()
    ranked: list[tuple[bool, int, int]] = []
    for waits, slot, node_id in sorted(_ranks(places)):
        if node_id:
            on_node[node_id] += 1
        ranked.append((waits, on_node[node_id], slot))
    ranked.sort()
    return [slot for _, _, slot in ranked[wanted:]]


def _ranks(places: ServicePlaces) -> Iterable[tuple[bool, int, str]]:
    for key in places:
        standing = places.running_places[key]
        assert isinstance(key, int)
        yield not standing.running, key, standing.node_id
