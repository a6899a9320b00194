"""Which of the nodes that fit is the best. Pure.

By the spread preferences first, as a tree: at each level the branch with the fewest tasks of the
service. In a branch (without preferences: among all) first the nodes where the service has not
failed again and again lately, then those with the fewest tasks of the service, then with the
fewest tasks at all, and at last by id, so that the same state gives the same plan.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

from sampan.cluster.records import Node, Task
from sampan.cluster.scheduler.room import Room
from sampan.cluster.spec import Placement

FAILURES_THAT_COUNT = 5
FAILURES_WITHIN_S = 300.0

Key = tuple[int, int, int, str]


def branch_of(node: Node, descriptor: str) -> str:
    """The value by which a spread preference tells nodes apart; without the label: empty."""
    lower = descriptor.lower()
    if lower.startswith("node.labels."):
        return node.spec.labels.get(descriptor[len("node.labels.") :], "")
    if lower.startswith("engine.labels."):
        return node.description.engine_labels.get(descriptor[len("engine.labels.") :], "")
    return ""


def descriptors(placement: Placement | None) -> tuple[str, ...]:
    preferences = placement.preferences if placement is not None else ()
    return tuple(p.spread.spread_descriptor for p in preferences if p.spread is not None)


class Tree:
    """The nodes that are considered for a group of like tasks.

    Args:
        failures: recent failures of the service on a node.
        level: index of the preference that divides this level.
    """

    def __init__(
        self,
        rooms: Sequence[Room],
        spread: tuple[str, ...],
        service_id: str,
        failures: Callable[[str], int],
        level: int = 0,
    ) -> None:
        self._service = service_id
        self._failures = failures
        self.tasks = sum(room.by_service[service_id] for room in rooms)
        self._branches: list[Tree] = []
        self._heap: list[tuple[Key, int, Room]] = []
        if level < len(spread):
            groups: dict[str, list[Room]] = {}
            for room in rooms:
                groups.setdefault(branch_of(room.node, spread[level]), []).append(room)
            self._branches = [
                Tree(group, spread, service_id, failures, level + 1)
                for _, group in sorted(groups.items())
            ]
        else:
            self._heap = [(self._key(room), n, room) for n, room in enumerate(rooms)]
            heapq.heapify(self._heap)

    def _key(self, room: Room) -> Key:
        failed = self._failures(room.node.id)
        return (
            failed if failed >= FAILURES_THAT_COUNT else 0,
            room.by_service[self._service],
            room.load,
            room.node.id,
        )

    def best(self, fits: Callable[[Room], bool], task: Task, place: Callable[[Room], None]) -> bool:
        """Place ``task`` on the best node that fits; False: none does.

        Nodes that do not fit leave the tree: all tasks of the group are alike, and room only gets
        less during a pass.
        """
        if self._branches:
            for branch in sorted(self._branches, key=lambda b: b.tasks):
                if branch.best(fits, task, place):
                    self.tasks += 1
                    return True
            return False
        while self._heap:
            _, number, room = self._heap[0]
            if not fits(room):
                heapq.heappop(self._heap)
                continue
            place(room)
            self.tasks += 1
            heapq.heapreplace(self._heap, (self._key(room), number, room))
            return True
        return False
