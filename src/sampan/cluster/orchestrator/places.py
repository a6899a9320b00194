"""The places of every service and what is known of each, moved on by each change.

*Naive: group all tasks of a service whenever one of them has changed.* Five microseconds a task are
50 ms for one failure among ten thousand, and the loop of a daemon that has to answer stands still
meanwhile. So what a plan asks of *all* places (how many there are, which slots are taken, how far a
rollout is) is kept as sums; a change marks the places that it concerns, and a plan looks at those.

Nothing in here decides. What is written comes back as a change and marks its place again, so that
what was noted of a place holds for its tasks as they are now.
"""

from __future__ import annotations

import bisect
import heapq
from collections import Counter
from collections.abc import Iterable, Iterator

import msgspec

from sampan.cluster.model import State
from sampan.cluster.orchestrator.plan import over
from sampan.cluster.orchestrator.slots import Slot
from sampan.cluster.records import Service, Task
from sampan.cluster.spec import ServiceMode
from sampan.cluster.states import TaskState

Key = int | str
"""Of a place: the slot, or of a global service the node's id."""


class PlaceProgress(msgspec.Struct, frozen=True, gc=False):
    """How far the rollout is in one place."""

    outdated: bool = False
    """Not tried yet."""
    running: bool = False
    tries: int = 0
    under_way: bool = False
    failed: Task | None = None
    settled_at: float = 0.0
    """When it will have been watched for long enough; 0: it is not watched."""


class RunningPlace(msgspec.Struct, frozen=True, gc=False):
    """What speaks for a place where some have to go."""

    running: bool
    node_id: str


class Attempt(msgspec.Struct, frozen=True, gc=False):
    """Of a job: how it stands with one of its completions."""

    there: bool = False
    completed: bool = False
    busy: bool = False
    to_repeat: bool = False
    """It has failed, and may have a successor."""


NO_PROGRESS = PlaceProgress()
NO_ATTEMPT = Attempt()


class RolloutSums:
    """What the places together say of a rollout."""

    def __init__(self) -> None:
        self.by_place: dict[Key, PlaceProgress] = {}
        self.outdated: list[tuple[bool, int, str]] = []
        """(running, slot, node id), in the order in which their turns come: what does not run
        anyway is first, since replacing it costs nobody anything."""
        self.tries = 0
        self.under_way = 0
        self.failed: dict[Key, Task] = {}
        self._settled: list[float] = []

    @property
    def settled_at(self) -> float:
        """When the last of the tried will have been watched for long enough."""
        return self._settled[-1] if self._settled else 0.0

    def note(self, key: Key, new: PlaceProgress) -> None:
        old = self.by_place.get(key, NO_PROGRESS)
        if new == old:
            return
        if new == NO_PROGRESS:
            self.by_place.pop(key, None)
        else:
            self.by_place[key] = new
        if old.outdated:
            self.outdated.pop(bisect.bisect_left(self.outdated, _turn(key, old)))
        if new.outdated:
            bisect.insort(self.outdated, _turn(key, new))
        if old.settled_at:
            self._settled.pop(bisect.bisect_left(self._settled, old.settled_at))
        if new.settled_at:
            bisect.insort(self._settled, new.settled_at)
        self.tries += new.tries - old.tries
        self.under_way += new.under_way - old.under_way
        if new.failed is not None:
            self.failed[key] = new.failed
        else:
            self.failed.pop(key, None)


class JobSums:
    """What the slots of a replicated job together say."""

    def __init__(self) -> None:
        self.by_slot: dict[int, Attempt] = {}
        self.completed = 0
        self.busy = 0
        self.to_repeat: list[int] = []
        """Slots, in order."""

    def __len__(self) -> int:
        return len(self.by_slot)

    def note(self, slot: int, new: Attempt) -> None:
        old = self.by_slot.get(slot, NO_ATTEMPT)
        if new == old:
            return
        if new.there:
            self.by_slot[slot] = new
        else:
            del self.by_slot[slot]
        self.completed += new.completed - old.completed
        self.busy += new.busy - old.busy
        if old.to_repeat:
            self.to_repeat.pop(bisect.bisect_left(self.to_repeat, slot))
        if new.to_repeat:
            bisect.insort(self.to_repeat, slot)


def _turn(key: Key, progress: PlaceProgress) -> tuple[bool, int, str]:
    if isinstance(key, int):
        return progress.running, key, ""
    return progress.running, 0, key


class ServicePlaces:
    """Of one service."""

    def __init__(self, *, by_node: bool, first_slot: int = 1) -> None:
        self.by_node, self.first_slot = by_node, first_slot
        self.rollout = RolloutSums()
        self.attempts = JobSums()
        self.leaving: list[Key] = []
        """Chosen to go, since there are more places than are wanted; see ``leaving_for``."""
        self.running_places: dict[Key, RunningPlace] = {}
        """While some have to go: what was found of places that have not changed since."""
        self.leaving_for: tuple[int, int] | None = None
        """The service's version and the number wanted for which they were chosen."""
        self.dirty: dict[Key, int] = {}
        """Places to be looked at, with the number of the change that marked them last."""
        self._tasks: dict[str, Task] = {}
        self._by_place: dict[Key, tuple[Task, ...]] = {}
        """Without the tasks to be removed."""
        self._taken: Counter[int] = Counter()
        """Slot -> tasks that are in it, or still stop there."""
        self._free_from = first_slot
        """No slot below is free."""
        self._changes = 0
        self._wakes: dict[Key, float] = {}
        self._alarms: list[tuple[float, int, Key]] = []

    def __len__(self) -> int:
        return len(self._by_place)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._by_place)

    # -- changes

    def put(self, id: str, task: Task | None) -> None:
        """A task as it is now; None: it is gone."""
        old = self._tasks.pop(id, None)
        if old is not None:
            key = self._key(old)
            if stay := tuple(one for one in self._by_place.get(key, ()) if one.id != id):
                self._by_place[key] = stay
            else:
                self._by_place.pop(key, None)
            self._take(old, -1)
            self.mark((key,))
        if task is not None:
            key = self._key(task)
            self._tasks[id] = task
            if task.desired < TaskState.REMOVE:
                self._by_place[key] = (*self._by_place.get(key, ()), task)
            self._take(task, 1)
            self.mark((key,))

    def mark(self, keys: Iterable[Key]) -> None:
        """Look at these in the next plan."""
        self._changes += 1
        for key in keys:
            self.dirty[key] = self._changes
            if self.running_places:
                self.running_places.pop(key, None)

    def _key(self, task: Task) -> Key:
        return task.node_id if self.by_node else task.slot

    def _take(self, task: Task, by: int) -> None:
        if self.by_node or (over(task) and task.desired >= TaskState.REMOVE):
            return
        self._taken[task.slot] += by
        if not self._taken[task.slot]:
            del self._taken[task.slot]
            self._free_from = min(self._free_from, max(self.first_slot, task.slot))

    # -- questions

    def slot(self, key: Key) -> Slot:
        """A place's tasks, for a plan to change."""
        tasks = list(self._by_place.get(key, ()))
        if isinstance(key, int):
            return Slot(slot=key, node_id="", tasks=tasks)
        return Slot(slot=0, node_id=key, tasks=tasks)

    def free_slots(self) -> Iterator[int]:
        """Numbers that nothing is in. One where a removed task still stops is left alone: nobody
        waits for it then, and no two live in one slot."""
        while self._free_from in self._taken:
            self._free_from += 1
        slot = self._free_from
        while True:
            if slot not in self._taken:
                yield slot
            slot += 1

    # -- what plans have found

    def looked_at(self, marks: Iterable[tuple[Key, int]]) -> None:
        """These have been looked at, and what that led to is written. What has changed since stays
        marked."""
        for key, mark in marks:
            if self.dirty.get(key) == mark:
                del self.dirty[key]

    def wake(self, key: Key, at: float | None) -> None:
        """The place is to be looked at then, if nothing happens before; None: not."""
        if at is None:
            self._wakes.pop(key, None)
        elif self._wakes.get(key) != at:
            self._wakes[key] = at
            self._changes += 1
            heapq.heappush(self._alarms, (at, self._changes, key))

    def due(self, now: float) -> None:
        """Mark the places whose time has come."""
        while self._alarms and (self._alarms[0][0] <= now or not self._holds(self._alarms[0])):
            alarm = heapq.heappop(self._alarms)
            if self._holds(alarm):
                del self._wakes[alarm[2]]
                self.mark((alarm[2],))

    def next_wake(self) -> float | None:
        while self._alarms and not self._holds(self._alarms[0]):
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def _holds(self, alarm: tuple[float, int, Key]) -> bool:
        return self._wakes.get(alarm[2]) == alarm[0]

    def snapshot(self) -> dict[str, object]:
        """What is known as a value: for tests that compare."""
        return {
            "places": {key: {t.id: t for t in tasks} for key, tasks in self._by_place.items()},
            "taken": dict(self._taken),
            "free": next(self.free_slots()),
            "progress": dict(self.rollout.by_place),
            "outdated": list(self.rollout.outdated),
            "tries": self.rollout.tries,
            "under way": self.rollout.under_way,
            "failed": {key: task.id for key, task in self.rollout.failed.items()},
            "settled": self.rollout.settled_at,
            "wakes": dict(self._wakes),
            "attempts": dict(self.attempts.by_slot),
            "completed": self.attempts.completed,
            "busy": self.attempts.busy,
            "to repeat": list(self.attempts.to_repeat),
        }


def _first(mode: ServiceMode) -> int:
    """Number of its first slot."""
    return 0 if mode.is_job else 1


class PlaceIndex:
    """Of all services."""

    def __init__(self) -> None:
        self.services: dict[str, ServicePlaces] = {}
        self.on_nodes: dict[str, None] = {}
        """Ids of the services that have a place on each node."""
        self.looked_at = 0
        """Places that plans have looked at since it was made: what it has cost."""

    @classmethod
    def of(cls, state: State) -> PlaceIndex:
        """Read off the state: what the changes since its beginning would have made of it."""
        index = cls()
        for service in state.services.values():
            index.put_service(service, state)
        return index

    def put_service(self, service: Service, state: State) -> None:
        """It is there; its places are those that the state knows, if they were not known yet."""
        known, mode = self.services.get(service.id), service.spec.mode
        if known is None or (known.by_node, known.first_slot) != (mode.is_global, _first(mode)):
            places = self.begin_service(service)
            for task in state.tasks_of(service.id).values():
                places.put(task.id, task)
            self.mark_all(service.id, state)

    def begin_service(self, service: Service) -> ServicePlaces:
        """Without its tasks yet."""
        mode = service.spec.mode
        self.drop_service(service.id)
        if mode.is_global:
            self.on_nodes[service.id] = None
        places = ServicePlaces(by_node=mode.is_global, first_slot=_first(mode))
        self.services[service.id] = places
        return places

    def drop_service(self, id: str) -> None:
        self.services.pop(id, None)
        self.on_nodes.pop(id, None)

    def mark_all(self, service_id: str, state: State) -> None:
        """Every place is to be looked at: what is wanted of them all may have changed."""
        places = self.services.get(service_id)
        if places is not None:
            places.mark(list(places))
            if places.by_node:
                places.mark(state.nodes)

    def put_task(self, service_id: str, id: str, task: Task | None) -> None:
        places = self.services.get(service_id)
        if places is not None:
            places.put(id, task)

    def put_node(self, id: str, on: Iterable[Task]) -> set[str]:
        """The node ``id``, with these tasks, has changed; the services that it concerns."""
        concerned = set(self.on_nodes)
        for service_id in concerned:
            self.services[service_id].mark((id,))
        for task in on:
            concerned.add(task.service_id)
            if (places := self.services.get(task.service_id)) is not None:
                places.mark((id if places.by_node else task.slot,))
        return concerned

    def snapshot(self) -> dict[str, object]:
        """For tests that compare."""
        return {id: places.snapshot() for id, places in self.services.items()}
