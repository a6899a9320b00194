"""Taking back a join that came to nothing: the managers forget the node, then what runs here goes.

Managers that cannot be told forget a node that never comes by themselves.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sampan.aio import Clock, deadline
from sampan.cluster.node.members import FORGET_PATH
from sampan.errors import SampanError
from sampan.network.overlay.contract import Overlay

if TYPE_CHECKING:
    from sampan.cluster.node.member import Member

log = logging.getLogger(__name__)

TELL_S = 5.0
LEFT_OVER = "what joining has begun cannot all be taken back: %s"


async def undo_join(member: Member, clock: Clock) -> None:
    """Of a member that runs: this daemon's own join has failed."""
    await _tell(member, clock)
    try:
        await member.leave()
    except (SampanError, OSError) as error:
        log.warning(LEFT_OVER, error)
    finally:
        await member.close()


async def take_back(member: Member, overlay: Overlay, clock: Clock) -> None:
    """Of a member that does not run: a killed daemon has begun to join as it."""
    try:
        await member.start()
        await _tell(member, clock)
        # It may have had a session, and tasks by it.
        await member.leave()
    except (SampanError, OSError) as error:
        log.warning(LEFT_OVER, error)
        await overlay.leave()
    finally:
        await member.close()


async def _tell(member: Member, clock: Clock) -> None:
    try:
        async with deadline(clock, TELL_S):
            await member.tell(FORGET_PATH)
    except (SampanError, TimeoutError) as error:
        log.warning("the managers could not be told that joining failed: %s", error)
