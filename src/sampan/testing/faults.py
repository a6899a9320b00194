"""Failing the n-th call of a dependency: how creation and start are shown to leave nothing."""

from __future__ import annotations

import inspect
from typing import Any


class Injected(Exception):
    """The failure that was asked for."""


class Faults:
    """Counts the calls that go through ``wrap``ped objects and fails one of them.

    ``armed`` False lets everything pass uncounted (a set-up, or the cleanup that must work).
    """

    def __init__(self, fail_at: int = 0) -> None:
        self.fail_at = fail_at
        self.count = 0
        self.armed = False
        self.hit = ""

    def wrap(self, name: str, part: object) -> Any:
        return _Faulty(name, part, self)

    def step(self, what: str) -> None:
        if not self.armed:
            return
        self.count += 1
        if self.count == self.fail_at:
            self.armed = False  # one failure: what undoes it must be able to
            self.hit = what
            raise Injected(what)


class _Faulty:
    def __init__(self, name: str, part: object, faults: Faults) -> None:
        self._name, self._part, self._faults = name, part, faults

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(self._part, attribute)
        if not callable(value):
            return value
        what, faults = f"{self._name}.{attribute}", self._faults
        if inspect.iscoroutinefunction(value):

            async def failing(*args: object, **kwargs: object) -> object:
                faults.step(what)
                return await value(*args, **kwargs)

            return failing

        def failing_now(*args: object, **kwargs: object) -> object:
            faults.step(what)
            return value(*args, **kwargs)

        return failing_now
