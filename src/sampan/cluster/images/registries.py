"""Registries as a task's node asks them: for a short time, and a silent one not again at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from sampan.aio import Clock, Outcome, first_of, outcome, within
from sampan.image.contract import RegistryFailed

T = TypeVar("T")

ASK_S = 5.0
"""A registry must say within this time whether it has an image."""
SHORT_DEADLINE_S = 1.0
"""... and within this one if another node has offered it."""
REMEMBERED_S = 15.0
"""One that did not answer is not asked again for so long: where there is no DNS, every question
costs seconds, and a service of a hundred tasks asks a hundred times."""


class Registries:
    """What is known of registries that do not answer. One a daemon."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._silent: dict[str, tuple[float, str]] = {}

    async def ask(
        self,
        registry: str,
        question: Callable[[], Awaitable[T]],
        offered: Callable[[], Awaitable[bool]] | None = None,
    ) -> T:
        """Ask ``registry``. ``offered`` returns whether it can be had elsewhere, once that is
        known: then the deadline is shorter.

        Raises:
            RegistryFailed: it does not answer, or did not a moment ago.
            What ``question`` raises.
        """
        until, why = self._silent.get(registry, (0.0, ""))
        if self._clock.monotonic() < until:
            raise RegistryFailed(why)

        async def answer() -> Outcome[T]:
            return await outcome(question())

        name, found = await first_of(answer=answer(), deadline=self._deadline(offered))
        if name == "deadline":
            failure = RegistryFailed(f"registry {registry} did not answer within {found:g} s")
            self._remember(registry, failure)
            raise failure
        if isinstance(found.error, RegistryFailed):
            self._remember(registry, found.error)
        result: T = found.value()
        return result

    async def _deadline(self, offered: Callable[[], Awaitable[bool]] | None) -> float:
        """Returns when it is over, and how long it was."""
        begun = self._clock.monotonic()
        with suppress(TimeoutError):
            if offered is not None and await within(self._clock, ASK_S, offered()):
                left = begun + ASK_S - self._clock.monotonic()
                await self._clock.sleep(min(SHORT_DEADLINE_S, max(0.0, left)))
                return round(self._clock.monotonic() - begun, 1)
        await self._clock.sleep(max(0.0, begun + ASK_S - self._clock.monotonic()))
        return ASK_S

    def _remember(self, registry: str, error: RegistryFailed) -> None:
        self._silent[registry] = (self._clock.monotonic() + REMEMBERED_S, str(error))
