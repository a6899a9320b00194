"""Tasks for agents, and what the cluster thinks of their nodes."""

from __future__ import annotations

from sampan.cluster.records import (
    Task,
    TaskAttachment,
    TaskStatus,
)
from sampan.cluster.spec import (
    ContainerSpec,
    SecretReference,
    TaskSpec,
)
from sampan.cluster.states import TaskState
from sampan.testing.agents import AgentWorld

S = TaskState


def task(
    id: str,
    node: str = "w1",
    *args: str,
    desired: TaskState = S.RUNNING,
    attachments: tuple[TaskAttachment, ...] = (),
    secrets: tuple[SecretReference, ...] = (),
    service: str = "svc",
    state: TaskState = S.ASSIGNED,
) -> Task:
    return Task(
        id=id,
        service_id=service,
        service_name=service,
        slot=1,
        node_id=node,
        desired=desired,
        status=TaskStatus(state=state),
        attachments=attachments,
        spec=TaskSpec(container_spec=ContainerSpec(image="img", args=args, secrets=secrets)),
    )


def node_state(world: AgentWorld, id: str) -> str:
    return world.store.state.nodes[id].status.state
