"""A thread that goes first, and what it starts, which does not: on the real kernel."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from sampan.kernel import process
from sampan.kernel.priority import NICE, SLICE_NS, put_first

T = TypeVar("T")


def in_new_thread(work: Callable[[], T], nice: int = 0) -> T:
    """``work`` in a thread of that nice value, whatever the tests were started with."""

    def begin() -> T:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
        return work()

    with ThreadPoolExecutor(1) as pool:
        try:
            return pool.submit(begin).result()
        except PermissionError:
            pytest.skip("nice values may not be lowered here: no CAP_SYS_NICE")


def nice_of(tid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, tid)


def slice_of(tid: int) -> int | None:
    """Nanoseconds; None where the kernel does not tell or has none."""
    try:
        lines = Path(f"/proc/{tid}/sched").read_text().splitlines()
    except FileNotFoundError:
        return None
    return next((int(line.split()[-1]) for line in lines if line.startswith("se.slice ")), None)


def test_a_thread_goes_first_and_what_it_starts_does_not() -> None:
    def work() -> tuple[int, int | None, int, int | None, int, int | None]:
        assert put_first()
        own = threading.get_native_id()
        child = process.spawn(["/bin/sleep", "1000"], fds={})
        try:
            of_child = nice_of(child.pid), slice_of(child.pid)
        finally:
            child.send(9)
            os.waitpid(child.pid, 0)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(threading.get_native_id).result()
            of_thread = nice_of(other), slice_of(other)
        return (nice_of(own), slice_of(own), *of_child, *of_thread)

    usual = in_new_thread(lambda: slice_of(threading.get_native_id()))
    nice, slice_ns, of_child, slice_of_child, of_thread, slice_of_thread = in_new_thread(work)
    assert (nice, of_child, of_thread) == (NICE, 0, 0)
    assert slice_ns in (SLICE_NS, usual)  # kernels before 6.12 do not take a slice
    assert (slice_of_child, slice_of_thread) == (usual, usual)


def test_who_was_given_a_nice_value_keeps_it_and_hands_it_on() -> None:
    def work() -> tuple[bool, int, int]:
        raised = put_first()
        child = process.spawn(["/bin/sleep", "1000"], fds={})
        try:
            return raised, nice_of(threading.get_native_id()), nice_of(child.pid)
        finally:
            child.send(9)
            os.waitpid(child.pid, 0)

    assert in_new_thread(work, 5) == (False, 5, 5)
