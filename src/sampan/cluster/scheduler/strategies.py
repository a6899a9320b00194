"""Which of the nodes that fit is the best: the strategies, by name. Pure.

The spread preferences of a placement come first whatever the strategy, as a tree: at each level the
branch with the fewest of what is placed. The strategy decides inside a branch (without preferences:
among all):

    spread    where the service has the fewest tasks, then where there are the fewest at all
    binpack   where the largest share is reserved, then where there are the most tasks
    random    any, drawn from the seed

With each of them a node where the service has failed again and again lately comes last, and of
equal nodes the smaller id first, so that the same state and seed give the same plan.

Nobody looks at every node: the index keeps nodes in the order of a strategy's *standing*, and a
ranking reads on in it until one fits.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from sampan.cluster.records import Service
from sampan.cluster.scheduler.node_index import Entry, NodeIndex, NodeInfo, Standing, branch_of
from sampan.cluster.scheduler.wanted import Wanted
from sampan.cluster.spec import Placement

LABEL = "io.sampan.strategy"
"""Of a service: the name of the strategy that places its tasks."""
DEFAULT = "spread"
FAILURES_THAT_COUNT = 5
FAILURES_WITHIN_S = 300.0

Fits = Callable[[NodeInfo], bool]


@dataclass(frozen=True)
class Group:
    """Like things to be placed, and what a strategy may ask."""

    nodes: NodeIndex
    wanted: Wanted
    failures: Mapping[str, int]
    """Node id -> how often the like of it failed there lately."""
    random: Random

    def failed(self, node_id: str) -> int:
        """Failures, where they are so many that they count."""
        count = self.failures.get(node_id, 0)
        return count if count >= FAILURES_THAT_COUNT else 0

    def own(self, node_id: str) -> int:
        return self.nodes.with_some_of(self.wanted.affinity).get(node_id, 0)


class Ranking(Protocol):
    """The nodes of a branch, while a group is placed on them.

    Nodes that do not fit leave it: all of a group are alike, and what is left only gets less.
    """

    def best(self, fits: Fits) -> NodeInfo | None:
        """None: no node fits."""
        ...

    def placed(self, info: NodeInfo) -> None:
        """The node that ``best`` gave has one more."""
        ...


@dataclass(frozen=True)
class Strategy:
    name: str
    standing: Standing
    ranking: Callable[[Group, Sequence[Entry]], Ranking]
    """Of the entries of a branch, in order."""
    why: Callable[[Group, NodeInfo], str]
    """For the user: why this node, as it was before."""


class Ordered:
    """``Ranking`` by a key: failures, where ``own_last`` its own tasks, the standing, the id.

    Most nodes have neither failures nor tasks of the group, so that they are in the order of their
    standing already: those are read off ``entries``, and only the others are sorted.
    """

    def __init__(self, group: Group, entries: Sequence[Entry], standing: Standing, own_last: bool):
        self._group, self._standing, self._own_last = group, standing, own_last
        self._entries, self._at = tuple(entries), 0
        self._heap: list[tuple[Entry, NodeInfo]] = []
        self._from_heap = False
        special = {id for id in group.failures if group.failed(id)}
        if own_last:
            special.update(group.nodes.with_some_of(group.wanted.affinity))
        if special:
            here = [entry[-1] for entry in self._entries if entry[-1] in special]
            self._heap = [
                (self._key(info), info) for info in map(group.nodes.nodes.__getitem__, here)
            ]
            heapq.heapify(self._heap)
        self._special = special

    def _key(self, info: NodeInfo) -> Entry:
        id = info.node.id
        own = self._group.own(id) if self._own_last else 0
        return (self._group.failed(id), own, *self._standing(info), id)

    def best(self, fits: Fits) -> NodeInfo | None:
        nodes, entries = self._group.nodes.nodes, self._entries
        while True:
            while self._at < len(entries) and entries[self._at][-1] in self._special:
                self._at += 1
            ahead = entries[self._at] if self._at < len(entries) else None
            if self._heap and (ahead is None or self._heap[0][0] < (0, 0, *ahead)):
                self._from_heap, info = True, self._heap[0][1]
            elif ahead is not None:
                self._from_heap, info = False, nodes[ahead[-1]]
            else:
                return None
            if fits(info):
                return info
            if self._from_heap:
                heapq.heappop(self._heap)
            else:
                self._at += 1

    def placed(self, info: NodeInfo) -> None:
        key = self._key(info)
        if self._from_heap:
            heapq.heapreplace(self._heap, (key, info))
        else:
            self._at += 1
            heapq.heappush(self._heap, (key, info))


class Drawn:
    """``Ranking`` by lot."""

    def __init__(self, group: Group, entries: Sequence[Entry]) -> None:
        self._group = group
        failing = {id for id in group.failures if group.failed(id)}
        ids = [entry[-1] for entry in entries]
        self._pools = [
            [id for id in ids if id not in failing],
            [id for id in ids if id in failing],
        ]

    def best(self, fits: Fits) -> NodeInfo | None:
        for pool in self._pools:
            while pool:
                at = self._group.random.randrange(len(pool))
                info = self._group.nodes.nodes[pool[at]]
                if fits(info):
                    return info
                pool[at] = pool[-1]
                pool.pop()
        return None

    def placed(self, info: NodeInfo) -> None:
        pass


class Tree:
    """``Ranking`` of branches: the one with the fewest of the group first."""

    def __init__(self, branches: Sequence[tuple[Ranking | Tree, int]]) -> None:
        self._branches = [_Branch(ranking, count) for ranking, count in branches]
        self._chosen: _Branch | None = None

    def best(self, fits: Fits) -> NodeInfo | None:
        # stable: of branches with as many, the smaller value first
        for branch in sorted(self._branches, key=lambda one: one.count):
            info = branch.ranking.best(fits)
            if info is not None:
                self._chosen = branch
                return info
        return None

    def placed(self, info: NodeInfo) -> None:
        assert self._chosen is not None, "best has given it"
        self._chosen.count += 1
        self._chosen.ranking.placed(info)


@dataclass(slots=True)
class _Branch:
    ranking: Ranking
    count: int = field(default=0)


def rank(
    strategy: Strategy, group: Group, fits: Fits, only: Collection[str] | None = None
) -> Ranking:
    """The nodes (``only`` these, where given) for ``group``, by its preferences and then by
    ``strategy``."""
    spread = descriptors(group.wanted.placement)
    branches: Mapping[tuple[str, ...], Sequence[Entry]]
    branches = group.nodes.order(strategy.standing, spread).branches
    if only is not None:
        branches = {
            values: [entry for entry in entries if entry[-1] in only]
            for values, entries in branches.items()
        }
    if not spread:
        return strategy.ranking(group, branches.get((), ()))
    # a node that no longer fits does not speak against its branch
    counted: Counter[tuple[str, ...]] = Counter()
    for id, count in group.nodes.with_some_of(group.wanted.affinity).items():
        info = group.nodes.nodes.get(id)
        if info is not None and fits(info):
            counted[tuple(branch_of(info.node, one) for one in spread)] += count
    return _tree(strategy, group, sorted(branches.items()), counted, 0)[0]


def _tree(
    strategy: Strategy,
    group: Group,
    branches: Sequence[tuple[tuple[str, ...], Sequence[Entry]]],
    counted: Mapping[tuple[str, ...], int],
    level: int,
) -> tuple[Ranking, int]:
    if len(branches) == 1 and len(branches[0][0]) == level:
        values, entries = branches[0]
        return strategy.ranking(group, entries), counted.get(values, 0)
    apart: dict[str, list[tuple[tuple[str, ...], Sequence[Entry]]]] = {}
    for values, entries in branches:
        apart.setdefault(values[level], []).append((values, entries))
    below = [_tree(strategy, group, some, counted, level + 1) for some in apart.values()]
    return Tree(below), sum(count for _, count in below)


def descriptors(placement: Placement) -> tuple[str, ...]:
    return tuple(p.spread.spread_descriptor for p in placement.preferences if p.spread is not None)


# ---------------------------------------------------------------- the strategies


def _by_load(info: NodeInfo) -> tuple[float, ...]:
    return (info.load,)


def _by_share(info: NodeInfo) -> tuple[float, ...]:
    return (-info.share_held, -info.load)


def _alike(_: NodeInfo) -> tuple[float, ...]:
    return ()


def _why_spread(group: Group, info: NodeInfo) -> str:
    own, load = group.own(info.node.id), info.load
    return f"spread: it had {_tasks(own)} of the service and {load} in all{_failed(group, info)}"


def _why_binpack(group: Group, info: NodeInfo) -> str:
    return (
        f"binpack: {info.share_held:.0%} of it was reserved and it had {_tasks(info.load)}"
        f"{_failed(group, info)}"
    )


def _why_random(group: Group, info: NodeInfo) -> str:
    return f"random: it was drawn{_failed(group, info)}"


def _failed(group: Group, info: NodeInfo) -> str:
    failed = group.failed(info.node.id)
    return f"; the service failed there {failed} times lately" if failed else ""


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


STRATEGIES: Mapping[str, Strategy] = {
    one.name: one
    for one in (
        Strategy(
            "spread",
            _by_load,
            lambda group, entries: Ordered(group, entries, _by_load, own_last=True),
            _why_spread,
        ),
        Strategy(
            "binpack",
            _by_share,
            lambda group, entries: Ordered(group, entries, _by_share, own_last=False),
            _why_binpack,
        ),
        Strategy("random", _alike, Drawn, _why_random),
    )
}


def strategy_of(service: Service | None) -> Strategy:
    """A name that is no longer known counts as not given: it was checked when it was."""
    name = service.spec.labels.get(LABEL, DEFAULT) if service is not None else DEFAULT
    return STRATEGIES.get(name) or STRATEGIES[DEFAULT]
