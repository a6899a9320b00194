"""The copy that every manager keeps."""

from __future__ import annotations

from sampan.cluster.model import Change, State
from sampan.cluster.records import Task


def test_all_tasks_are_copied_once_a_revision() -> None:
    state = State()
    one, two = Task(id="t1"), Task(id="t2")
    state.apply([Change("task", "t1", None, one)], 1)
    before = state.every_task()
    assert before == (one,)
    assert state.every_task() is before
    state.apply([Change("task", "t2", None, two)], 2)
    assert state.every_task() == (one, two)
    assert before == (one,), "who reads on in it is not disturbed"
    state.apply([Change("task", "t1", one, None)], 3)
    assert state.every_task() == (two,)
