"""A task's life: an order, and the questions asked of it.

    new -> pending -> assigned -> accepted -> preparing -> ready -> starting -> running
                                                                        │
        complete | shutdown | failed | rejected | remove | orphaned  <──┘ (from anywhere)

Observed state only grows. Desired state too: what should stop never should run again; a dead task
is replaced by another. The numbers leave room between, and order the ends by how bad they are.
"""

from __future__ import annotations

import enum


class TaskState(enum.IntEnum):
    NEW = 0
    """Made by an orchestrator; the allocator has not seen it."""
    PENDING = 64
    """Has its addresses; waits for a node."""
    ASSIGNED = 192
    ACCEPTED = 256
    """The node has it."""
    PREPARING = 320
    READY = 384
    """Can be started the moment that is desired."""
    STARTING = 448
    RUNNING = 512
    COMPLETE = 576
    """Ended by itself with exit code 0."""
    SHUTDOWN = 640
    """Stopped as desired."""
    FAILED = 704
    REJECTED = 768
    """The node could not make it (no such image, bad mount ...)."""
    REMOVE = 800
    """Desired only: stop it, and forget it."""
    ORPHANED = 832
    """Its node has been down too long; nobody will tell its end."""

    @property
    def word(self) -> str:
        """As the API says it."""
        return self.name.lower()

    @property
    def ended(self) -> bool:
        """No process of it runs (or will ever be heard of)."""
        return self > TaskState.RUNNING

    @classmethod
    def parse(cls, word: str) -> TaskState:
        """Raises: KeyError."""
        return cls[word.upper()]


def advance(observed: TaskState, reported: TaskState) -> bool:
    """Whether a report may replace what was observed: states never go backwards."""
    return reported > observed
