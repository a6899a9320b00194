"""How long to wait before the next try of what has failed again and again. Pure.

Everything that tries for ever waits by this one formula: twice as long each time, up to a limit.
A node may be cut off for days, so the count of failures has none.
"""

from __future__ import annotations

FIRST_S = 0.1
LONGEST_S = 5.0
_DOUBLINGS = 32
"""More change nothing, and a power of two with 1,024 of them does not fit into a float."""


def backoff_s(failures: int, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> float:
    """The pause in seconds after so many failures in a row (1 and up)."""
    return min(longest_s, first_s * 2.0 ** min(failures - 1, _DOUBLINGS))
