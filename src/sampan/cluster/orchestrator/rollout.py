"""Rolling a service over to its newest specification. Pure, and without memory.

The naive updater is a task of its own that walks over the slots and sleeps between them; it dies
with its leader, and the next one knows neither how far it came nor what failed. Here the rollout is
read off the tasks at every step: a place *was tried* when it has a task of the newest specification
that is nobody's restart; it is *under way* until that task runs and the delay has passed; the tries
that ended too soon are its failures. So it goes on under another leader as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from sampan.cluster.orchestrator.plan import ServicePlan
from sampan.cluster.orchestrator.restart import BY_ITSELF
from sampan.cluster.orchestrator.slots import Slot, blocked, is_done
from sampan.cluster.records import Task, UpdateStatus
from sampan.cluster.spec import UpdateConfig
from sampan.cluster.states import TaskState

DEFAULT_MONITOR_S = 5.0
DEFAULT = UpdateConfig(parallelism=1)


@dataclass(slots=True)
class RolloutProgress:
    """Of a rollout under way."""

    outdated: list[Slot] = field(default_factory=list)
    """Not tried yet."""
    tried: list[Task] = field(default_factory=list)
    under_way: int = 0
    failed: list[Task] = field(default_factory=list)
    settled_at: float = 0.0
    """When the last of the tried will have been watched for long enough."""


def advance_rollout(plan: ServicePlan, places: Sequence[Slot]) -> None:
    """Start, go on with, stop or complete the rollout; replace as many tasks as may be now."""
    for place in places:
        retire(plan, place)
    status = plan.service.update_status
    if status is not None and status.state in ("paused", "rollback_paused"):
        return
    back = status is not None and status.state == "rollback_started"
    rolling = back or (status is not None and status.state == "updating")
    config = plan.service.spec.rollback_config if back else plan.service.spec.update_config
    config = config or DEFAULT
    seen = progress_of(plan, places, config)
    if not rolling:
        if not seen.outdated:
            return
        status = UpdateStatus(state="updating", started_at=plan.now, message="update in progress")
        plan.new_service = replace(plan.service, update_status=status)
    elif _too_many(seen, config):
        _give_up(plan, seen.failed[-1], config, back=back)
        return
    elif not seen.outdated and not seen.under_way:
        if seen.settled_at > plan.now:
            plan.wake(seen.settled_at)
            return
        assert status is not None
        plan.new_service = replace(
            plan.service,
            update_status=replace(
                status,
                state="rollback_completed" if back else "completed",
                completed_at=plan.now,
                message="rollback completed" if back else "update completed",
            ),
        )
        return
    room = config.parallelism - seen.under_way if config.parallelism else len(seen.outdated)
    # what does not run anyway comes first: replacing it costs nobody anything
    seen.outdated.sort(key=lambda place: (place.running, place.slot, place.node_id))
    for place in seen.outdated[: max(0, room)]:
        replace_tasks(plan, place, start_first=config.order == "start-first")


def retire(plan: ServicePlan, place: Slot) -> None:
    """Where a new task runs, the old ones beside it have done their duty (start-first)."""
    alive = place.live
    if len(alive) > 1 and any(
        task.status.state == TaskState.RUNNING and not plan.outdated(task) for task in alive
    ):
        for task in alive:
            if plan.outdated(task):
                place.replace(plan.stop(task, "its successor runs"))


def replace_tasks(plan: ServicePlan, place: Slot, *, start_first: bool) -> None:
    """One place's turn."""
    if not start_first:
        for task in place.live:
            place.replace(plan.stop(task, "the service has been updated"))
    place.tasks.append(
        plan.create_task(
            "the service has been updated",
            slot=place.slot,
            node_id=place.node_id,
            wait=blocked(plan, place),
        )
    )


def progress_of(plan: ServicePlan, places: Sequence[Slot], config: UpdateConfig) -> RolloutProgress:
    """Where the rollout stands."""
    delay, monitor = config.delay / 1e9, (config.monitor / 1e9) or DEFAULT_MONITOR_S
    seen = RolloutProgress()
    for place in places:
        tries = [
            task
            for task in place.tasks
            if task.spec_version == plan.service.spec_version and not task.restart_of
        ]
        if not tries:
            if _is_outdated(plan, place):
                seen.outdated.append(place)
            continue
        seen.tried += tries
        last_try = max(tries, key=lambda task: task.created_at)
        state = last_try.status.state
        if state in BY_ITSELF:
            ended = plan.observed.ended_at(last_try, plan.now)
            if _too_soon(plan, last_try, ended, monitor):
                seen.failed.append(last_try)
            free_at = ended + delay
        elif state == TaskState.RUNNING and last_try.desired <= TaskState.RUNNING:
            since = plan.observed.running_since(last_try, plan.now)
            free_at = (plan.now if since is None else since) + delay
            seen.settled_at = max(seen.settled_at, free_at - delay + monitor)
        elif any(task.status.state < TaskState.RUNNING for task in place.live):
            seen.under_way += 1  # it, or the one that took its place when its node was lost
            continue
        else:
            continue
        if delay and free_at > plan.now:
            seen.under_way += 1
            plan.wake(free_at)
    return seen


def _is_outdated(plan: ServicePlan, place: Slot) -> bool:
    """What it has, living or at rest, is of an older specification."""
    alive = place.live
    if alive:
        return all(plan.outdated(task) for task in alive)
    last = place.last_dead()
    return last is not None and is_done(plan, place) and plan.outdated(last)


def _too_soon(plan: ServicePlan, task: Task, ended: float, monitor_s: float) -> bool:
    """It ended before it was trusted; one that never ran did."""
    since = plan.observed.running_since(task, plan.now)
    return since is None or ended - since <= monitor_s


def _too_many(seen: RolloutProgress, config: UpdateConfig) -> bool:
    if not seen.failed or config.failure_action == "continue":
        return False
    total = len(seen.outdated) + len(seen.tried)
    return len(seen.failed) / total > config.max_failure_ratio


def _give_up(plan: ServicePlan, failed: Task, config: UpdateConfig, *, back: bool) -> None:
    """Too many failures: stop here, or go back; a rollback is never rolled back."""
    service = plan.service
    status = service.update_status
    assert status is not None
    blame = f"due to failure or early termination of task {failed.id}"
    if config.failure_action == "rollback" and not back and service.previous_spec is not None:
        plan.new_service = replace(
            service,
            spec=service.previous_spec,
            spec_version=service.spec_version + 1,
            previous_spec=None,
            update_status=UpdateStatus(
                state="rollback_started",
                started_at=plan.now,
                message=f"update rolled back {blame}",
            ),
        )
    else:
        plan.new_service = replace(
            service,
            update_status=replace(
                status,
                state="rollback_paused" if back else "paused",
                message=f"{'rollback' if back else 'update'} paused {blame}",
            ),
        )
