"""How often nodes show that they live, and how long the cluster waits before it believes they do
not. Pure.

A fixed period is wrong at both ends: 5 s is an age for three hosts, 1 s from a thousand is all that
their managers would do. So it follows from the number of nodes.
"""

from __future__ import annotations

FASTEST_S = 1.0
SLOWEST_S = 5.0
NODES_A_SECOND = 20
"""Heartbeats a second that all managers together should have to read, up to ``SLOWEST_S``."""
MISSED = 3
"""Periods without a sign after which a node counts as down. Fewer finds failures sooner, and moves
the tasks of hosts that were only busy."""


HEARTBEAT_FAILURE = "heartbeat failure"
"""What a node's status says of why it is down, whichever manager noticed."""


def heartbeat_s(nodes: int, chosen_ns: int = 0) -> float:
    """Seconds between two heartbeats of a node.

    Args:
        nodes: of the whole cluster.
        chosen_ns: what the user chose (``DispatcherConfig.heartbeat_period``); 0: nothing.
    """
    if chosen_ns > 0:
        return chosen_ns / 1e9
    return min(SLOWEST_S, max(FASTEST_S, nodes / NODES_A_SECOND))


def grace_s(period_s: float) -> float:
    """Seconds of silence after which a node is down."""
    return period_s * MISSED
