"""A member's code is loaded when this host becomes one, and not by the event loop.

A daemon in no cluster pays nothing for clusters (cryptography alone is 17 ms and 10 MB), so these
modules are imported inside functions. The first such import would keep the loop for its whole time;
in a thread, it shares.
"""

from __future__ import annotations

import importlib

from sampan.aio import in_thread

PARTS = (
    "sampan.cluster.ca.join",
    "sampan.cluster.ca.tokens",
    "sampan.cluster.node.bootstrap",
    "sampan.cluster.node.leave_check",
    "sampan.cluster.node.member",
    "sampan.cluster.node.membership_plan",
    "sampan.cluster.node.promotion",
)


async def load_parts() -> None:
    """After this, importing any part of a member costs nothing."""
    for part in PARTS:
        await in_thread(importlib.import_module, part)
