"""A transfer in one line: what ``docker service ps`` and ``cluster why`` show while it lasts."""

from __future__ import annotations

from collections.abc import Callable

from sampan.aio import Clock
from sampan.image.contract import Progress, Reference

EVERY_S = 0.5
_MB = 1_000_000


class ProgressReporter:
    """Adds up a pull's reports."""

    def __init__(self, wanted: Reference, say: Callable[[str], None], clock: Clock) -> None:
        self._name = wanted.familiar
        self._say = say
        self._clock = clock
        self._next = 0.0
        self._layers: dict[str, Progress] = {}
        self.source = ""

    def begin(self) -> None:
        """Nothing has come yet."""
        self._say(f"looking for {self._name}")

    def report(self, progress: Progress) -> None:
        """``Report`` of a pull."""
        if progress.status != "Downloading":
            return
        self._layers[progress.id] = progress
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + EVERY_S
            done = sum(layer.current for layer in self._layers.values()) / _MB
            total = sum(layer.total for layer in self._layers.values()) / _MB
            self._say(
                f"pulling {self._name} from {self.source}: {done:.0f} of {total:.0f} MB "
                f"({len(self._layers)} layers)"
            )

    def trouble(self, words: str) -> None:
        """Something went wrong, and another way is tried."""
        self._say(f"pulling {self._name}: {words}; trying another node")
