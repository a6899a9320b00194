"""The tasks of one place: a slot of a replicated service, a node of a global one. Pure.

A place is in one of four conditions, read off its tasks:

    current   a live task of the newest specification
    outdated  only live tasks of an older one: a rollout's to replace
    done      its last task ended by itself, and the restart policy lets it rest
    vacant    nothing lives in it: create a task
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.cluster.orchestrator.plan import ServicePlan, live
from sampan.cluster.orchestrator.restart import (
    delay_s,
    ended_by_itself,
    restarts_with,
    should_restart,
)
from sampan.cluster.records import Task
from sampan.cluster.states import TaskState


@dataclass(slots=True)
class Slot:
    """``tasks``: all of the place but those to be removed."""

    slot: int
    node_id: str
    tasks: list[Task]

    def replace(self, task: Task) -> None:
        """A newer version of one of the tasks."""
        self.tasks = [task if one.id == task.id else one for one in self.tasks]

    @property
    def live(self) -> list[Task]:
        return [task for task in self.tasks if live(task)]

    @property
    def running(self) -> bool:
        return any(task.status.state == TaskState.RUNNING for task in self.live)

    def last_dead(self) -> Task | None:
        """The youngest of those that do not live. Times may be equal: who was replaced is older,
        and who has a successor here is not the last."""
        replaced = {task.restart_of for task in self.tasks}
        dead = [task for task in self.tasks if not live(task)]
        return max(
            dead, key=lambda t: (t.created_at, t.id not in replaced, t.spec_version), default=None
        )


def settle(plan: ServicePlan, place: Slot) -> None:
    """What goes without asking: tasks leave nodes that are lost, dead ones are wanted no more."""
    for task in place.tasks:
        if not task.desired <= TaskState.RUNNING:
            continue
        if task.status.state.ended:
            place.replace(plan.stop(task, "it has ended"))
        elif why := plan.lost(task):
            place.replace(plan.stop(task, why))


def refill(plan: ServicePlan, place: Slot) -> None:
    """Bear what the place lacks: a first task, a successor for one that was taken from a lost
    node, a restart."""
    alive = place.live
    if any(not plan.outdated(task) for task in alive):
        return
    last = place.last_dead()
    if last is not None and ended_by_itself(last):
        if alive and plan.outdated(last):
            return  # an older task lives on beside it: the rollout's business
        if should_restart(last, plan.now):
            # Its successor is of another specification: that one has not failed yet.
            delay = 0.0 if plan.outdated(last) else delay_s(last)
            if delay and last.status.state == TaskState.REJECTED:
                # A successor is prepared while it waits, and would be refused at once: the delay
                # comes before it is born.
                due, delay = last.updated_at + delay, 0.0
                if due > plan.now:
                    plan.wake(due)
                    return
            same = last.spec_version == plan.service.spec_version
            task = plan.create_task(
                f"{last.id} ended as {last.status.state.word}",
                slot=place.slot,
                node_id=place.node_id,
                wait=blocked(plan, place),
                replaces=last,
                delay_s=delay,
                restarts=restarts_with(last, plan.now) if same else (),
            )
            place.tasks.append(task)
        return
    if not alive:
        task = plan.create_task(
            "the slot is empty" if last is None else f"{last.id} was stopped",
            slot=place.slot,
            node_id=place.node_id,
            wait=blocked(plan, place),
            replaces=last,
        )
        place.tasks.append(task)


def release(plan: ServicePlan, place: Slot) -> None:
    """Start what was held ready, once its time has come and whom it replaces has ended."""
    for task in place.live:
        if task.desired != TaskState.READY or task.version == 0:
            continue
        if task.start_after > plan.now:
            plan.wake(task.start_after)
        elif not blocked(plan, place):
            place.replace(plan.start(task, "its turn has come"))


def blocked(plan: ServicePlan, place: Slot) -> bool:
    return any(plan.in_the_way(task) for task in place.tasks)


def is_done(plan: ServicePlan, place: Slot) -> bool:
    """The restart policy lets it rest."""
    if place.live:
        return False
    last = place.last_dead()
    return last is not None and ended_by_itself(last) and not should_restart(last, plan.now)
