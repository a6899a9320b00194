"""What wants a node in, decisions out. Pure: nothing is read or written beside the index."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from sampan.cluster.scheduler.filters import Bound, Filter
from sampan.cluster.scheduler.node_index import Hold, NodeIndex, plain_hold
from sampan.cluster.scheduler.strategies import Group, Strategy, rank
from sampan.cluster.scheduler.wanted import Wanted
from sampan.cluster.spec import GenericResource

W = TypeVar("W", bound=Wanted)


@dataclass(frozen=True, slots=True)
class Placed(Generic[W]):
    wanted: W
    node_id: str
    generic_resources: tuple[GenericResource, ...]
    why: str
    """For the user: why this node."""


@dataclass(frozen=True, slots=True)
class Unplaced(Generic[W]):
    wanted: W
    why: str
    """For the user, in Docker's words."""


def no_failures(_: str) -> Mapping[str, int]:
    return {}


def plan(
    wanted: Iterable[W],
    nodes: NodeIndex,
    filters: Sequence[Filter],
    strategy: Callable[[W], Strategy],
    *,
    failures: Callable[[str], Mapping[str, int]] = no_failures,
    seed: int = 0,
    only: Collection[str] | None = None,
) -> tuple[list[Placed[W]], list[Unplaced[W]]]:
    """Place what can be placed. While it is made, what is placed is counted in ``nodes``;
    afterwards they are as they were: what is written comes back as a change.

    Those that are alike are placed together: the filters are bound once for all of them, and a node
    that has refused one is not asked again.

    Args:
        strategy: by which the like of this one are placed.
        failures: affinity -> node id -> failures lately.
        seed: of what is drawn by lot: the same one gives the same plan.
        only: nodes to be considered; of what fits on none of them it is not said why.
    """
    placed: list[Placed[W]] = []
    unplaced: list[Unplaced[W]] = []
    held: list[tuple[str, Hold]] = []
    groups: dict[Hashable, list[W]] = {}
    for one in wanted:
        if one.node_id:
            if only is None or one.node_id in only:
                _given(one, nodes, filters, held, placed, unplaced)
            else:
                unplaced.append(Unplaced(one, ""))
        else:
            groups.setdefault(one.alike, []).append(one)
    for alike in groups.values():
        first = alike[0]
        bound = Bound(filters, first)
        chosen = strategy(first)
        random = Random(f"{seed}/{first.id}")
        group = Group(nodes, first, failures(first.affinity), random)
        ranking = rank(chosen, group, bound.fits, only)
        # of most there is nothing to be told apart: one hold serves for all
        plain = None if first.reservations.generic_resources else plain_hold(first)
        for number, one in enumerate(alike):
            info = ranking.best(bound.admits)
            if info is None:
                # every node has refused by now, each once
                why = _sentence(bound.explain()) if only is None else ""
                unplaced += [Unplaced(other, why) for other in alike[number:]]
                break
            reason, hold = chosen.why(group, info), plain or info.share_for(one)
            nodes.hold(info.node.id, hold)
            held.append((info.node.id, hold))
            placed.append(Placed(one, info.node.id, hold.generic, reason))
            ranking.placed(info)
    for node_id, hold in reversed(held):
        nodes.release(node_id, hold)
    return placed, unplaced


def _given(
    one: W,
    nodes: NodeIndex,
    filters: Sequence[Filter],
    held: list[tuple[str, Hold]],
    placed: list[Placed[W]],
    unplaced: list[Unplaced[W]],
) -> None:
    """Its node is given: a task of a global service."""
    info = nodes.nodes.get(one.node_id)
    if info is None:
        unplaced.append(Unplaced(one, "no suitable node"))
        return
    bound = Bound(filters, one)
    if bound.admits(info):
        hold = info.share_for(one)
        nodes.hold(one.node_id, hold)
        held.append((one.node_id, hold))
        placed.append(Placed(one, one.node_id, hold.generic, "one of it runs on every such node"))
    else:
        unplaced.append(Unplaced(one, bound.explain()))


def _sentence(explanation: str) -> str:
    return f"no suitable node ({explanation})" if explanation else "no suitable node"
