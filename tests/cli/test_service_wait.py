"""When a service counts as converged, and what is said on the way."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.cli.service.progress import ServiceProgress
from sampan.cli.service.wait import overview

NODES = {"n1": "host1", "n2": "host2"}


def service(replicas: int = 2, **more: Any) -> dict[str, Any]:
    return {"Spec": {"Mode": {"Replicated": {"Replicas": replicas}}}, **more}


def task(slot: int, state: str, *, node: str = "n1", err: str = "", **more: Any) -> dict[str, Any]:
    index = more.pop("index", slot)
    return {
        "ID": f"t{slot}-{index}",
        "Slot": slot,
        "NodeID": node,
        "DesiredState": more.pop("desired", "running"),
        "Status": {"State": state, "Err": err},
        "Version": {"Index": index},
        **more,
    }


def test_all_must_run_for_as_long_as_they_are_watched() -> None:
    way = ServiceProgress("web")
    way.look(service(), [], NODES, 0.0)
    assert way.shown() == [
        "overall progress: 0 out of 2 tasks",
        "1/2: waiting to be made",
        "2/2: waiting to be made",
    ]
    way.look(service(), [task(1, "running"), task(2, "preparing", node="n2")], NODES, 1.0)
    assert way.shown() == [
        "overall progress: 1 out of 2 tasks",
        "1/2: running on host1",
        "2/2: preparing",
    ]
    both = [task(1, "running"), task(2, "running", node="n2")]
    way.look(service(), both, NODES, 2.0)
    assert way.phase == "verify: Waiting 5 seconds to verify that tasks are stable..."
    way.look(service(), both, NODES, 6.5)
    assert way.phase == "verify: Waiting 1 seconds to verify that tasks are stable..."
    assert way.verdict is None
    way.look(service(), both, NODES, 7.0)
    assert way.verdict == (0, "verify: Service web converged")


def test_a_failure_begins_the_watch_anew() -> None:
    way = ServiceProgress("web")
    both = [task(1, "running"), task(2, "running")]
    way.look(service(), both, NODES, 0.0)
    dead = task(2, "failed", err="task: non-zero exit (1)", desired="shutdown")
    way.look(service(), [both[0], dead, task(2, "ready", index=9)], NODES, 4.0)
    assert way.phase == "verify: Detected task failure"
    assert way.lines[1] == ("2/2", "ready (before: task: non-zero exit (1))")
    way.look(service(), both, NODES, 5.0)
    way.look(service(), both, NODES, 9.9)
    assert way.verdict is None
    way.look(service(), both, NODES, 10.0)
    assert way.verdict is not None


def test_a_task_that_waits_says_why() -> None:
    way = ServiceProgress("web")
    reason = "no suitable node (scheduling constraints not satisfied on 2 nodes)"
    way.look(service(1), [task(1, "pending", err=reason, node="")], NODES, 0.0)
    assert way.shown()[1] == f"1/1: {reason}"
    assert way.reason() == reason


def test_the_service_says_how_long() -> None:
    way = ServiceProgress("web")
    one = service(1)
    one["Spec"]["UpdateConfig"] = {"Monitor": 1_000_000_000}
    way.look(one, [task(1, "running")], NODES, 0.0)
    way.look(one, [task(1, "running")], NODES, 1.0)
    assert way.verdict == (0, "verify: Service web converged")


def test_a_pause_ends_it_and_an_old_one_does_not() -> None:
    paused = {"State": "paused", "Message": "update paused due to failure", "StartedAt": "1"}
    way = ServiceProgress("web", before=paused)
    way.look(service(1, UpdateStatus=paused), [task(1, "running")], NODES, 0.0)
    assert way.verdict is None
    again = {**paused, "StartedAt": "2"}
    way.look(service(1, UpdateStatus=again), [task(1, "running")], NODES, 0.1)
    assert way.verdict == (1, "service update paused: update paused due to failure")


@pytest.mark.parametrize("wanted", [False, True])
def test_a_rollback_is_a_failure_unless_it_was_asked_for(wanted: bool) -> None:
    way = ServiceProgress("web", rolling_back=wanted)
    status = {"State": "rollback_completed", "Message": "rollback completed"}
    back = service(1, UpdateStatus=status)
    way.look(back, [task(1, "running")], NODES, 0.0)
    way.look(back, [task(1, "running")], NODES, 5.0)
    assert way.verdict is not None
    code, sentence = way.verdict
    assert code == (0 if wanted else 1)
    assert wanted or sentence == "service rolled back: rollback completed"


def test_an_update_that_ended_in_failing_tasks_is_not_waited_for() -> None:
    way = ServiceProgress("web")
    over = service(1, UpdateStatus={"State": "completed", "Message": "update completed"})
    failing = [task(1, "starting", err="task: non-zero exit (3)")]
    way.look(over, failing, NODES, 0.0)
    way.look(over, failing, NODES, 4.9)
    assert way.verdict is None
    way.look(over, failing, NODES, 5.0)
    assert way.verdict == (
        1, "service update completed, but 0 of 1 tasks run: task: non-zero exit (3)"
    )  # fmt: skip


def test_nothing_to_run_is_converged_as_well() -> None:
    way = ServiceProgress("web")
    way.look(service(0), [], NODES, 0.0)
    way.look(service(0), [], NODES, 5.0)
    assert way.verdict == (0, "verify: Service web converged")


def test_a_global_service_waits_for_no_node_that_is_away() -> None:
    way = ServiceProgress("agent")
    everywhere = {"Spec": {"Mode": {"Global": {}}}}
    tasks = [
        task(0, "running", node="n1"),
        task(0, "starting", node="n2"),
        task(0, "running", node="gone"),
    ]
    way.look(everywhere, tasks, NODES, 0.0)
    assert (way.done, way.total) == (1, 2)


def test_a_job_is_over_when_all_have_ended_well() -> None:
    way = ServiceProgress("job")
    job: dict[str, Any] = {
        "Spec": {"Mode": {"ReplicatedJob": {"TotalCompletions": 2, "MaxConcurrent": 1}}},
        "JobStatus": {"JobIteration": {"Index": 7}},
    }
    now = {"JobIteration": {"Index": 7}}
    old = task(1, "complete", JobIteration={"Index": 3})
    first = task(1, "complete", **now)
    way.look(job, [old, first, task(2, "running", **now)], NODES, 0.0)
    assert way.summary() == "job progress: 1 out of 2 complete"
    assert way.verdict is None
    way.look(job, [old, first, task(2, "complete", **now)], NODES, 0.1)
    assert way.verdict == (0, "job complete")


def test_many_tasks_are_counted_only() -> None:
    way = ServiceProgress("web")
    way.look(service(30), [task(n, "running") for n in range(1, 30)], NODES, 0.0)
    assert way.shown() == ["overall progress: 29 out of 30 tasks"]


def test_several_services_on_one_screen() -> None:
    web, db = ServiceProgress("app_web"), ServiceProgress("app_db")
    web.look(service(1), [task(1, "running")], NODES, 0.0)
    db.look(service(2), [task(1, "running"), task(2, "starting")], NODES, 0.0)
    assert overview([web, db], 7) == [
        "overall progress: 2 out of 3 tasks",
        "app_web  1/1  verify: Waiting 5 seconds to verify that tasks are stable...",
        "app_db   1/2  starting",
    ]
