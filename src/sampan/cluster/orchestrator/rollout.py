"""Rolling a service over to its newest specification. Pure, and without memory.

The naive updater is a task of its own that walks over the slots and sleeps between them; it dies
with its leader, and the next one knows neither how far it came nor what failed. Here the rollout is
read off the tasks at every step: a place *was tried* when it has a task of the newest specification
that is nobody's restart; it is *under way* until that task runs and the delay has passed; the tries
that ended too soon are its failures. So it goes on under another leader as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from sampan.cluster.orchestrator.places import Key, PlaceProgress, RolloutSums, ServicePlaces
from sampan.cluster.orchestrator.plan import ServicePlan
from sampan.cluster.orchestrator.restart import BY_ITSELF
from sampan.cluster.orchestrator.slots import Slot, blocked, is_done
from sampan.cluster.records import Service, Task, UpdateStatus
from sampan.cluster.spec import UpdateConfig
from sampan.cluster.states import TaskState

DEFAULT_MONITOR_S = 5.0
DEFAULT = UpdateConfig(parallelism=1)


@dataclass(slots=True)
class NewPlaces:
    """Places that the plan itself creates, and that the index does not know yet."""

    tries: int = 0
    under_way: int = 0

    def count(self, progress: PlaceProgress) -> None:
        self.tries += progress.tries
        self.under_way += progress.under_way


def is_rolling(service: Service) -> bool:
    """A rollout, or its rollback, is under way."""
    status = service.update_status
    return status is not None and status.state in ("updating", "rollback_started")


def config_of(plan: ServicePlan) -> UpdateConfig:
    """How the service rolls now."""
    status = plan.service.update_status
    back = status is not None and status.state == "rollback_started"
    config = plan.service.spec.rollback_config if back else plan.service.spec.update_config
    return config or DEFAULT


def advance_rollout(
    plan: ServicePlan,
    places: ServicePlaces,
    looked_at: Mapping[Key, Slot],
    new_places: NewPlaces,
    at_most: int,
) -> bool:
    """Start, go on with, stop or complete the rollout; replace as many tasks as may be now.

    Args:
        looked_at: places as the plan has left them; of others the index is true.
        at_most: places to be replaced in this plan; whether there are more is returned.
    """
    status, sums = plan.service.update_status, places.rollout
    if status is not None and status.state in ("paused", "rollback_paused"):
        return False
    back = status is not None and status.state == "rollback_started"
    rolling = is_rolling(plan.service)
    config = config_of(plan)
    under_way = sums.under_way + new_places.under_way
    if not rolling:
        if not sums.outdated:
            return False
        status = UpdateStatus(state="updating", started_at=plan.now, message="update in progress")
        plan.new_service = replace(plan.service, update_status=status)
    elif _too_many(sums, new_places, config):
        _give_up(plan, sums.failed[max(sums.failed, key=_order)], config, back=back)
        return False
    elif not sums.outdated and not under_way:
        if sums.settled_at > plan.now:
            plan.wake(sums.settled_at)
            return False
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
        return False
    room = config.parallelism - under_way if config.parallelism else len(sums.outdated)
    turns = min(max(0, room), len(sums.outdated))
    for _, number, node_id in sums.outdated[: min(turns, at_most)]:
        key: Key = node_id if places.by_node else number
        place = looked_at.get(key) or places.slot(key)
        replace_tasks(plan, place, start_first=config.order == "start-first")
    return turns > at_most


def _order(key: Key) -> tuple[int, str]:
    return (key, "") if isinstance(key, int) else (0, key)


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


def progress_of(plan: ServicePlan, place: Slot) -> PlaceProgress:
    """Where the rollout stands in one place."""
    config = config_of(plan)
    delay, monitor = config.delay / 1e9, (config.monitor / 1e9) or DEFAULT_MONITOR_S
    tries = [
        task
        for task in place.tasks
        if task.spec_version == plan.service.spec_version and not task.restart_of
    ]
    if not tries:
        return PlaceProgress(outdated=_is_outdated(plan, place), running=place.running)
    last_try = max(tries, key=lambda task: task.created_at)
    state = last_try.status.state
    failed, settled_at = None, 0.0
    if state in BY_ITSELF:
        free_at = ended = plan.observed.ended_at(last_try, plan.now)
        if _too_soon(plan, last_try, ended, monitor):
            failed = last_try
    elif state == TaskState.RUNNING and last_try.desired <= TaskState.RUNNING:
        since = plan.observed.running_since(last_try, plan.now)
        free_at = plan.now if since is None else since
        settled_at = free_at + monitor
    else:
        # it, or the one that took its place when its node was lost
        beginning = any(task.status.state < TaskState.RUNNING for task in place.live)
        return PlaceProgress(tries=len(tries), under_way=beginning)
    free_at += delay
    waits = delay > 0 and free_at > plan.now
    if waits:
        plan.wake(free_at)
    return PlaceProgress(tries=len(tries), under_way=waits, failed=failed, settled_at=settled_at)


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


def _too_many(sums: RolloutSums, new_places: NewPlaces, config: UpdateConfig) -> bool:
    if not sums.failed or config.failure_action == "continue":
        return False
    total = len(sums.outdated) + sums.tries + new_places.tries
    return len(sums.failed) / total > config.max_failure_ratio


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
