"""What the records cost a daemon that holds very many of them."""

from __future__ import annotations

import gc

import msgspec

from sampan.cluster.model import KINDS
from sampan.cluster.records import Object, Part, Task, TaskAttachment, TaskStatus
from sampan.cluster.spec import ContainerSpec, Placement, Spec, TaskSpec
from sampan.cluster.states import TaskState


def below(base: type[msgspec.Struct]) -> set[type[msgspec.Struct]]:
    return {base}.union(*(below(one) for one in base.__subclasses__()))


def test_no_record_is_the_business_of_the_collector_of_cycles() -> None:
    kinds = below(Object) | below(Part) | below(Spec)
    assert set(KINDS.values()) <= kinds
    assert [one.__name__ for one in kinds if one.__struct_config__.gc] == []


def test_a_task_as_it_is_read_is_not_walked_over() -> None:
    made = Task(
        id="t",
        spec=TaskSpec(
            container_spec=ContainerSpec(image="x", env=("A=B",)),
            placement=Placement(constraints=("node.role==worker",)),
        ),
        status=TaskStatus(state=TaskState.RUNNING),
        attachments=(TaskAttachment(network_id="n", ipv4="10.0.0.2", prefix=24),),
    )
    read = msgspec.json.decode(msgspec.json.encode(made), type=Task)
    gc.collect()  # a tuple is let go at the first look, when nothing in it is watched
    parts = (read, read.spec, read.spec.container_spec, read.spec.placement, read.attachments)
    assert [one for one in parts if gc.is_tracked(one)] == []
