"""Registries as a task's node asks them: for a short time, and not again at once in vain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sampan.aio import Clock, Tasks
from sampan.errors import SampanError
from sampan.image.contract import RegistryFailed

T = TypeVar("T")

ASK_S = 5.0
"""A registry must say within this time whether it has an image."""
PATIENCE_S = 1.0
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
        known: then there is less patience.

        Raises:
            RegistryFailed: it does not answer, or did not a moment ago.
            What ``question`` raises.
        """
        until, why = self._silent.get(registry, (0.0, ""))
        if self._clock.monotonic() < until:
            raise RegistryFailed(why)
        tasks = Tasks()
        asking = tasks.spawn(_outcome(question), name=f"ask registry {registry}")
        watching = tasks.spawn(_patience(offered), name=f"patience with registry {registry}")
        try:
            await asyncio.wait({asking, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                failure = RegistryFailed(
                    f"registry {registry} did not answer within {watching.result():g} s"
                )
                self._remember(registry, failure)
                raise failure
            result, error = asking.result()
        finally:
            await tasks.close()
        if isinstance(error, RegistryFailed):
            self._remember(registry, error)
        if error is not None:
            raise error
        assert result is not None
        return result

    def _remember(self, registry: str, error: RegistryFailed) -> None:
        self._silent[registry] = (self._clock.monotonic() + REMEMBERED_S, str(error))


async def _outcome(question: Callable[[], Awaitable[T]]) -> tuple[T | None, SampanError | None]:
    try:
        return await question(), None
    except SampanError as error:  # belongs to the one who asks, not to the log
        return None, error


async def _patience(offered: Callable[[], Awaitable[bool]] | None) -> float:
    """Returns when it is over, and how long it was."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        async with asyncio.timeout(ASK_S):
            if offered is None or not await offered():
                await asyncio.Event().wait()
    except TimeoutError:
        return ASK_S
    await asyncio.sleep(min(PATIENCE_S, max(0.0, begun + ASK_S - loop.time())))
    return round(loop.time() - begun, 1)
