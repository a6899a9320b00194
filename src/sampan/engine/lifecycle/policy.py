"""Restart policies: pure decisions."""

from __future__ import annotations

from sampan.store.records import RestartPolicy

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 60.0
STABLE_AFTER_S = 10.0
"""A run that lived this long was a good one: the next failure starts again at the first delay."""


def next_delay(previous_s: float, lived_s: float) -> float:
    """Seconds until the next start. ``previous_s`` is 0 before the first restart."""
    if previous_s == 0 or lived_s >= STABLE_AFTER_S:
        return FIRST_DELAY_S
    return min(previous_s * 2, LONGEST_DELAY_S)


def restarts_after_exit(
    policy: RestartPolicy, *, exit_code: int, restart_count: int, stop_requested: bool
) -> bool:
    """Does a run that just ended want another? ``stop_requested``: the user ended it."""
    if stop_requested:
        return False
    match policy.name:
        case "always" | "unless-stopped":
            return True
        case "on-failure":
            limit = policy.maximum_retry_count
            return exit_code != 0 and (limit == 0 or restart_count < limit)
        case _:
            return False


def starts_with_daemon(
    policy: RestartPolicy, *, was_running: bool, exit_code: int, stop_requested: bool
) -> bool:
    """Does a container that does not run start when the daemon does? ``was_running``: it ran when
    the daemon (or the host) went down. ``always`` forgets that the user had stopped it; that is
    what tells it from ``unless-stopped``."""
    match policy.name:
        case "always":
            return True
        case "unless-stopped":
            return not stop_requested
        case "on-failure":
            return was_running and exit_code != 0 and not stop_requested
        case _:
            return False
