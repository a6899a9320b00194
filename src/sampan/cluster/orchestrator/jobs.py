"""Services whose tasks are meant to end: so many completions, or one on every node. Pure planners.

A job does not roll: a new iteration (a change of the service that asks for one) removes the tasks
of the one before. A task that has completed stays as the proof of it, and is never run again. Slots
begin at 0, as Docker's do for jobs.
"""

from __future__ import annotations

from itertools import islice

from sampan.cluster.orchestrator.plan import ServicePlan, live
from sampan.cluster.orchestrator.restart import (
    delay_s,
    ended_by_itself,
    restarts_with,
    should_restart,
)
from sampan.cluster.orchestrator.services import eligible
from sampan.cluster.orchestrator.slots import Slot, blocked, free_slots, group, release
from sampan.cluster.records import Task
from sampan.cluster.states import TaskState

BIRTHS_AT_ONCE = 2000
"""Of one job in one pass: one that wants very many must not make all others wait."""


def plan_replicated_job(plan: ServicePlan, tasks: list[Task]) -> None:
    mode = plan.service.spec.mode.replicated_job
    at_once = 1 if mode is None or mode.max_concurrent is None else mode.max_concurrent
    total = at_once if mode is None or mode.total_completions is None else mode.total_completions
    places = list(group(_of_iteration(plan, tasks), by_node=False).values())
    places.sort(key=lambda place: place.slot)
    busy = completed = 0
    for place in places:
        _settle(plan, place)
        completed += _completed(place)
        busy += bool(place.live)
    room = max(0, min(at_once or total, total - completed) - busy)
    for place in places:
        if room and not _completed(place) and not place.live and _again(plan, place):
            room -= 1
    missing = min(room, max(0, total - len(places)))
    if missing > BIRTHS_AT_ONCE:
        plan.wake(plan.now)
    born = min(missing, BIRTHS_AT_ONCE)
    for slot in islice(free_slots(tasks, (place.slot for place in places), 0), born):
        plan.create_task("a completion is missing", slot=slot)
    for place in places:
        release(plan, place)


def plan_global_job(plan: ServicePlan, tasks: list[Task]) -> None:
    places = group(_of_iteration(plan, tasks), by_node=True)
    for place in places.values():
        _settle(plan, place)
    for node in plan.nodes.values():
        place = places.get(node.id) or Slot(slot=0, node_id=node.id, tasks=[])
        if _completed(place):
            continue
        if not eligible(node, plan):
            for task in place.live:
                place.replace(plan.stop(task, "the job has no place on this node"))
        elif place.live:
            release(plan, place)
        elif place.tasks:
            _again(plan, place)
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


def _again(plan: ServicePlan, place: Slot) -> bool:
    """Create a successor of the last task, which did not complete; False: the policy forbids it."""
    last = place.last_dead()
    if last is None or live(last):
        return False
    failed = ended_by_itself(last)
    if failed and not should_restart(last, plan.now, job=True):
        return False
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
    return True
