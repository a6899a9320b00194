"""Services whose tasks are meant to end: so many completions, or one on every node. Pure planners.

A job does not roll: a new iteration (a change of the service that asks for one) removes the tasks
of the one before. A task that has completed stays as the proof of it, and is never run again. Slots
begin at 0, as Docker's do for jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice

from sampan.cluster.loop import SLICE
from sampan.cluster.orchestrator.places import NO_ATTEMPT, Attempt, Key, ServicePlaces
from sampan.cluster.orchestrator.plan import ServicePlan, live
from sampan.cluster.orchestrator.restart import (
    delay_s,
    ended_by_itself,
    restarts_with,
    should_restart,
)
from sampan.cluster.orchestrator.services import PlacesPlan, eligible
from sampan.cluster.orchestrator.slots import Slot, blocked, release
from sampan.cluster.records import Node, Task
from sampan.cluster.states import TaskState


def plan_job(plan: ServicePlan, places: ServicePlaces, at_most: int = SLICE) -> PlacesPlan:
    """As ``plan_service``, of a job."""
    done = PlacesPlan()
    places.due(plan.now)
    slots: dict[Key, Slot] = {}
    for key, mark in islice(places.dirty.items(), at_most):
        done.marks.append((key, mark))
        slots[key] = _look_at(plan, places, key)
    if len(places.dirty) > len(done.marks):
        done.more = True
    elif not places.by_node:
        done.more = _go_on(plan, places, slots, at_most)
    return done


def _look_at(plan: ServicePlan, places: ServicePlaces, key: Key) -> Slot:
    place, before, plan.wake_at = places.slot(key), plan.wake_at, None
    place.tasks = _of_iteration(plan, place.tasks)
    _settle(plan, place)
    if isinstance(key, str):
        _on_node(plan, place, plan.nodes.get(key))
    else:
        release(plan, place)
        places.attempts.note(key, _attempt(plan, place))
    places.wake(key, plan.wake_at)
    plan.wake_at = before
    return place


def _go_on(
    plan: ServicePlan, places: ServicePlaces, looked_at: Mapping[Key, Slot], at_most: int
) -> bool:
    """Try again, and begin what has not been tried, as far as so many may run at the same time;
    whether there is more to begin now."""
    mode = plan.service.spec.mode.replicated_job
    at_once = 1 if mode is None or mode.max_concurrent is None else mode.max_concurrent
    total = at_once if mode is None or mode.total_completions is None else mode.total_completions
    sums = places.attempts
    room = max(0, min(at_once or total, total - sums.completed) - sums.busy)
    again = sums.to_repeat[: min(room, at_most)]
    for slot in again:
        _try_again(plan, looked_at.get(slot) or places.slot(slot))
    missing = min(room - len(again), max(0, total - len(sums)))
    born = min(missing, at_most - len(again))
    for slot in islice(places.free_slots(), born):
        plan.create_task("a completion is missing", slot=slot)
    return min(room, len(sums.to_repeat)) > at_most or born < missing


def _on_node(plan: ServicePlan, place: Slot, node: Node | None) -> None:
    if node is None or _completed(place):
        return
    if not eligible(node, plan):
        for task in place.live:
            place.replace(plan.stop(task, "the job has no place on this node"))
    elif place.live:
        release(plan, place)
    elif place.tasks:
        if _may_repeat(plan, place):
            _try_again(plan, place)
    elif node.spec.availability == "active":
        plan.create_task("the job has not run on this node", node_id=node.id)


def _of_iteration(plan: ServicePlan, tasks: list[Task]) -> list[Task]:
    """The current iteration's; the others are sent away."""
    status = plan.service.job_status
    iteration = status.iteration if status is not None else 0
    current: list[Task] = []
    for task in tasks:
        if (task.job_iteration or 0) == iteration:
            current.append(task)
        else:
            plan.remove(task, "of an earlier iteration")
    return current


def _settle(plan: ServicePlan, place: Slot) -> None:
    """As of services, but a completed task keeps being wanted: that is how it is told apart."""
    for task in place.tasks:
        if not task.desired <= TaskState.RUNNING or task.status.state == TaskState.COMPLETE:
            continue
        if task.status.state.ended:
            place.replace(plan.stop(task, "it has ended"))
        elif why := plan.lost(task):
            place.replace(plan.stop(task, why))


def _completed(place: Slot) -> bool:
    return any(task.status.state == TaskState.COMPLETE for task in place.tasks)


def _attempt(plan: ServicePlan, place: Slot) -> Attempt:
    if not place.tasks:
        return NO_ATTEMPT
    if _completed(place):
        return Attempt(there=True, completed=True, busy=bool(place.live))
    if place.live:
        return Attempt(there=True, busy=True)
    return Attempt(there=True, to_repeat=_may_repeat(plan, place))


def _may_repeat(plan: ServicePlan, place: Slot) -> bool:
    """The last task did not complete, and the policy lets it have a successor."""
    last = place.last_dead()
    if last is None or live(last):
        return False
    return not ended_by_itself(last) or should_restart(last, plan.now, job=True)


def _try_again(plan: ServicePlan, place: Slot) -> None:
    """Create a successor of the last task."""
    last = place.last_dead()
    assert last is not None
    failed = ended_by_itself(last)
    task = plan.create_task(
        f"{last.id} ended as {last.status.state.word}" if failed else f"{last.id} was stopped",
        slot=place.slot,
        node_id=place.node_id,
        wait=blocked(plan, place),
        replaces=last,
        delay_s=delay_s(last) if failed else 0.0,
        restarts=restarts_with(last, plan.now) if failed else (),
    )
    place.tasks.append(task)
