"""Replicated and global services. Pure planners."""

from __future__ import annotations

from collections import Counter
from itertools import islice

from sampan.cluster.orchestrator.plan import ServicePlan, down
from sampan.cluster.orchestrator.rollout import advance_rollout
from sampan.cluster.orchestrator.slots import Slot, free_slots, group, refill, release, settle
from sampan.cluster.placement import fulfils
from sampan.cluster.records import Node, Task

BIRTHS_AT_ONCE = 2000
"""Of one service in one pass: one that wants very many must not make all others wait."""


def plan_replicated(plan: ServicePlan, tasks: list[Task]) -> None:
    mode = plan.service.spec.mode.replicated
    wanted = 1 if mode is None or mode.replicas is None else mode.replicas
    places = [place for _, place in sorted(group(tasks, by_node=False).items(), key=_slot)]
    for place in places:
        settle(plan, place)
    kept, surplus = choose_surplus(places, wanted)
    for place in surplus:
        for task in place.tasks:
            plan.remove(task, f"{wanted} replicas are wanted")
    for place in kept:
        refill(plan, place)
    numbers = free_slots(tasks, (place.slot for place in kept))
    missing = max(0, wanted - len(kept))
    if missing > BIRTHS_AT_ONCE:
        plan.wake(plan.now)
    for slot in islice(numbers, min(missing, BIRTHS_AT_ONCE)):
        place = Slot(slot=slot, node_id="", tasks=[])
        refill(plan, place)
        kept.append(place)
    advance_rollout(plan, kept)
    for place in kept:
        release(plan, place)


def _slot(item: tuple[object, Slot]) -> int:
    return item[1].slot


def choose_surplus(places: list[Slot], wanted: int) -> tuple[list[Slot], list[Slot]]:
    """Which places stay and which go: running ones stay rather than others, and of these first one
    on every node, then a second, so that what stays is spread."""
    if len(places) <= wanted:
        return places, []
    on_node: Counter[str] = Counter()
    ranked: list[tuple[bool, int, int, Slot]] = []
    for place in sorted(places, key=lambda p: (not p.running, p.slot)):
        alive = place.live
        node_id = alive[0].node_id if alive else ""
        if node_id:
            on_node[node_id] += 1
        ranked.append((not place.running, on_node[node_id], place.slot, place))
    ranked.sort(key=lambda entry: entry[:3])
    stay = {entry[2] for entry in ranked[:wanted]}
    return (
        [place for place in places if place.slot in stay],
        [place for place in places if place.slot not in stay],
    )


def eligible(node: Node, plan: ServicePlan) -> bool:
    """Whether a global service has a place on ``node``."""
    return (
        not down(node)
        and node.spec.availability != "drain"
        and fulfils(node, plan.service.spec.task_template.placement)
    )


def plan_global(plan: ServicePlan, tasks: list[Task]) -> None:
    places = group(tasks, by_node=True)
    for place in places.values():
        settle(plan, place)
    rolling: list[Slot] = []
    for node in plan.nodes.values():
        place = places.pop(node.id, Slot(slot=0, node_id=node.id, tasks=[]))
        if not eligible(node, plan):
            _vacate(plan, place)
        elif node.spec.availability != "pause":
            refill(plan, place)
            rolling.append(place)
        else:
            release(plan, place)
    for place in places.values():
        _vacate(plan, place)
    advance_rollout(plan, rolling)
    for place in rolling:
        release(plan, place)


def _vacate(plan: ServicePlan, place: Slot) -> None:
    for task in place.live:
        place.replace(plan.stop(task, "the service has no place on this node"))
