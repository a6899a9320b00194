"""From what users type to an object: its id, its name, or the beginning of its id."""

from __future__ import annotations

from typing import TypeVar

from sampan.cluster.contract import NoSuchObject, OutOfSequence
from sampan.cluster.errors import Ambiguous
from sampan.cluster.model import State
from sampan.cluster.records import Node, Object, Task
from sampan.lookup import by_prefix, only

O = TypeVar("O", bound=Object)  # noqa: E741


def find(state: State, kind: type[O], ref: str) -> O:
    """The object that ``ref`` means.

    Raises:
        NoSuchObject: none.
        Ambiguous: several ids begin with ``ref``.
    """
    if (exact := state.get(kind, ref)) is not None:
        return exact
    if (named := state.named(kind, ref)) is not None:
        return named
    return by_prefix(
        state.all(kind),
        ref,
        missing=lambda: NoSuchObject(kind.kind, ref),
        ambiguous=lambda number: Ambiguous(kind.kind, ref, number),
    )


def find_node(state: State, ref: str, own_id: str) -> Node:
    """A node by id, by its host's name, by a prefix of its id, or ``self``."""
    if ref == "self":
        ref = own_id
    if (exact := state.nodes.get(ref)) is not None:
        return exact
    named = [node for node in state.nodes.values() if ref and ref == node_name(node)]
    if named:
        return only(
            named,
            missing=lambda: NoSuchObject("node", ref),
            ambiguous=lambda number: Ambiguous("node", ref, number),
        )
    return find(state, Node, ref)


def find_task(state: State, ref: str) -> Task:
    """A task by id, by its whole name (``web.1.ID``), or by a prefix of its id."""
    if (exact := state.tasks.get(ref.rpartition(".")[2])) is not None and (
        "." not in ref or exact.annotated_name == ref
    ):
        return exact
    return find(state, Task, ref)


def node_name(node: Node) -> str:
    """What people call it."""
    return node.spec.name or node.description.hostname


def at_version(state: State, record: Object, version: int) -> None:
    """The specification that the client changed must be the one that is there now.

    Not the version of the whole object: the cluster writes into it as well (addresses, the state
    of an update), and who changes a service twice in a row would be refused for no fault of theirs.

    Raises:
        OutOfSequence.
    """
    if not state.spec_since(record) <= version <= record.version:
        raise OutOfSequence
