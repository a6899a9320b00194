"""What a service is said to wait for, and the events of what changes."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from sampan.cluster import spec as s
from sampan.cluster.control.events import events_of
from sampan.cluster.control.explain import TaskWhy, explain
from sampan.cluster.model import Change, State
from sampan.cluster.records import (
    ClusterNetwork,
    NodeStatus,
    Object,
    Service,
    Task,
    TaskStatus,
    UpdateStatus,
)
from sampan.cluster.states import TaskState
from sampan.testing.membership import node_record

NOW = 1_700_000_000.0
TASK = s.TaskSpec(container_spec=s.ContainerSpec(image="busybox"))


def service(replicas: int = 1, **fields: Any) -> Service:
    mode = s.ServiceMode(replicated=s.ReplicatedMode(replicas=replicas))
    spec = s.ServiceSpec(name="web", task_template=fields.pop("task", TASK), mode=mode)
    return Service(id="s", spec=spec, spec_version=1, **fields)


def state(*records: Object, leader: str = "m") -> State:
    made = State()
    changes = [Change(one.kind, one.id, None, one) for one in records]
    made.apply([*changes, Change("leader", "", None, leader)], 1)
    return made


NODE = replace(node_record("one", "192.0.2.1"), id="n")


def task(observed: TaskState, desired: TaskState = TaskState.RUNNING, **fields: Any) -> Task:
    status = TaskStatus(
        state=observed,
        timestamp=NOW - 3,
        message=fields.pop("message", ""),
        err=fields.pop("err", ""),
    )
    fields = {"id": "t", "slot": 1, "spec_version": 1, "spec": TASK, **fields}
    if observed >= TaskState.ASSIGNED:
        fields.setdefault("node_id", "n")
    return Task(service_id="s", service_name="web", desired=desired, status=status, **fields)


def only(*records: Object, asked: Service | None = None, leader: str = "m") -> TaskWhy:
    asked = asked or service()
    (row,) = explain(state(asked, NODE, *records, leader=leader), asked, now=NOW).tasks
    return row


@pytest.mark.parametrize(
    ("given", "waits_for", "reason"),
    [
        (task(TaskState.NEW), "allocator", "waits for its addresses"),
        (
            task(TaskState.PENDING, err="no suitable node (host port taken on 1 node)"),
            "scheduler",
            "no suitable node (host port taken on 1 node)",
        ),
        (task(TaskState.ASSIGNED), "node", "node one has not taken it yet"),
        (task(TaskState.PREPARING, message="preparing"), "image", "(busybox): preparing"),
        (task(TaskState.READY, TaskState.READY, start_after=NOW + 4), "restart-delay", "4.0 s"),
        (task(TaskState.READY, TaskState.READY), "predecessor", "to end"),
        (task(TaskState.STARTING), "health", "is being started on node one"),
        (task(TaskState.RUNNING), "", "runs on node one"),
        (
            task(TaskState.RUNNING, placement_reason="binpack: 40% of it was reserved"),
            "",
            "runs on node one (binpack: 40% of it was reserved)",
        ),
        (task(TaskState.RUNNING, node_id="gone"), "node", "its node was removed"),
    ],
)
def test_each_state_has_a_reason(given: Task, waits_for: str, reason: str) -> None:
    row = only(given)
    assert row.waits_for == waits_for
    assert reason in row.reason
    assert row.ok == (not waits_for)
    assert row.since_s == 3


def test_a_network_without_addresses_is_named() -> None:
    network = ClusterNetwork(id="x", spec=s.NetworkSpec(name="back"), error="no subnet is free")
    spec = replace(TASK, networks=(s.NetworkAttachmentConfig(target="x"),))
    row = only(network, task(TaskState.NEW, spec=spec))
    assert row.reason == "network back: no subnet is free"


def test_a_node_that_is_down() -> None:
    asked = service()
    down = replace(NODE, status=NodeStatus(state="down", message="heartbeat failure"))
    (row,) = explain(state(asked, down, task(TaskState.RUNNING)), asked, now=NOW).tasks
    assert (row.waits_for, row.reason) == ("node", "node one is down (heartbeat failure)")


def test_nobody_leads() -> None:
    asked = service(2)
    why = explain(state(asked, leader=""), asked, now=NOW)
    assert why.summary.startswith("no manager leads")
    assert [row.waits_for for row in why.tasks] == ["orchestrator"] * 2


def test_failures_of_a_place_are_told_with_the_task_that_is_there_now() -> None:
    dead = task(TaskState.FAILED, TaskState.SHUTDOWN, id="a", err="task: non-zero exit (1)")
    row = only(dead, task(TaskState.RUNNING, id="b", created_at=NOW))
    assert (row.ok, row.failures, row.error) == (True, 1, "task: non-zero exit (1)")


def test_what_is_not_restarted_waits_for_the_user() -> None:
    asked = service(task=replace(TASK, restart_policy=s.RestartPolicy(condition="none")))
    row = only(task(TaskState.FAILED, TaskState.SHUTDOWN), asked=asked)
    assert row.waits_for == "user"
    assert "restart condition none" in row.reason


def test_a_paused_update_says_how_to_go_on() -> None:
    status = UpdateStatus(state="paused", started_at=NOW - 9, message="update paused due to x")
    asked = service(update_status=status)
    why = explain(state(asked, NODE, task(TaskState.RUNNING)), asked, now=NOW)
    assert "update paused due to x" in why.summary
    assert "service rollback" in why.summary
    assert why.rollout is not None
    assert (why.rollout.updated, why.rollout.outdated) == (1, 0)


def test_events_tell_what_changed() -> None:
    old = service(1)
    new = service(3)
    (event,) = events_of(Change("service", "s", old, new))
    assert (event.type, event.action, event.scope) == ("service", "update", "swarm")
    assert event.attributes == {"name": "web", "replicas.old": "1", "replicas.new": "3"}
    down = replace(NODE, status=NodeStatus(state="down"))
    (event,) = events_of(Change("node", "n", NODE, down))
    assert event.attributes == {"name": "one", "state.old": "ready", "state.new": "down"}
    assert not list(events_of(Change("node", "n", NODE, replace(NODE, ingress_ipv4="10.0.0.2"))))
    (event,) = events_of(Change("service", "s", old, None))
    assert event.action == "remove"
