"""Changing who is a member, so that no step can cost the quorum.

    joining     add as learner (no vote) ── start it ── it reads everything ── promote
    leaving     move leadership away ── remove ── stop it

A member added with a vote at once would count for the quorum before it runs: with one manager, the
cluster would stand still until the second is up, for ever if it never comes. A learner that fails
is just removed.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sampan.aio import Clock, shielded
from sampan.cluster.etcd import wire
from sampan.cluster.etcd.client import EtcdClient
from sampan.cluster.etcd.failures import MemberNotReady, NoSuchMember, QuorumAtRisk
from sampan.errors import Conflict, Internal, Unavailable

log = logging.getLogger(__name__)

PROMOTE_S = 30.0
ADD_S = 15.0
PAUSE_S = 0.1


class LastManager(Conflict):
    def __init__(self) -> None:
        super().__init__(
            "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of "
            "the swarm"
        )


@dataclass(frozen=True, slots=True)
class Admission:
    """What a joining member needs for its first start (``EtcdSettings.initial``, ``existing``)."""

    member_id: int
    initial: dict[str, str]


class Members:
    """Changes of membership, by a manager that is a member."""

    def __init__(self, client: EtcdClient, clock: Clock) -> None:
        self._client, self._clock = client, clock

    async def admit(self, name: str, peer_url: str) -> Admission:
        """Add a learner. A member of that URL that never started, or that is a learner still (a
        join that broke off), is replaced.

        Raises:
            Conflict: a voting member has that address already.
            QuorumAtRisk: another one is joining, or too few members run; it stayed so for a while.
        """
        for member in await self._client.members():
            if peer_url in member.peerURLs:
                if member.name and not member.isLearner:
                    raise Conflict(f"a manager at {peer_url} is a member already")
                await self._client.member_remove(member.ID)
        end = self._clock.monotonic() + ADD_S
        while True:
            try:
                reply = await self._client.member_add(peer_url, learner=True)
                break
            except (QuorumAtRisk, NoSuchMember):
                # One learner at a time. And a member's id is made of its URL and the second: one
                # that was removed in this second takes the new one's id to its grave.
                if self._clock.monotonic() >= end:
                    raise
                await self._clock.sleep(PAUSE_S)
        if reply.member is None:
            raise Unavailable("etcd added a member and did not say which")
        initial = {member.name: member.peerURLs[0] for member in reply.members if member.name}
        return Admission(reply.member.ID, initial | {name: peer_url})

    async def promote(self, member_id: int, *, deadline_s: float = PROMOTE_S) -> None:
        """Give a learner its vote, as soon as it has caught up.

        Raises:
            Unavailable: it did not catch up in time. It still is a learner.
            NoSuchMember: it was removed.
        """
        end = self._clock.monotonic() + deadline_s
        while True:
            try:
                return await self._client.member_promote(member_id)
            except (MemberNotReady, Unavailable, QuorumAtRisk) as error:
                if any(member_id == m.ID and not m.isLearner for m in await self._client.members()):
                    return  # done before, and the answer was lost
                if self._clock.monotonic() >= end:
                    raise Unavailable(
                        f"the new manager's store did not catch up within {deadline_s:g} s"
                    ) from error
                await self._clock.sleep(PAUSE_S)

    @asynccontextmanager
    async def joining(self, name: str, peer_url: str) -> AsyncIterator[Admission]:
        """A learner for the time of the block, in which its process is started; promoted when the
        block ends well, removed when it raises."""
        admission = await self.admit(name, peer_url)
        try:
            yield admission
            await self.promote(admission.member_id)
        except BaseException:
            await shielded(self._take_back(admission.member_id))
            raise

    async def _take_back(self, member_id: int) -> None:
        try:
            await self._client.member_remove(member_id)
        except NoSuchMember:
            pass
        except (Unavailable, QuorumAtRisk) as error:
            log.warning(
                "member %x could not be removed after it failed to join: %s", member_id, error
            )

    async def remove(self, member_id: int, *, present: Collection[str] | None = None) -> None:
        """Take a member out; nothing happens when it is out already.

        Args:
            present: names (node ids) of the managers that show signs of life; then a removal after
                which fewer than a majority would be alive is refused. None: not checked.

        Raises:
            LastManager: it is the only one that votes.
            QuorumAtRisk: the others that live would be too few.
        """
        members = await self._client.members()
        voters = [member for member in members if not member.isLearner]
        if [member.ID for member in voters] == [member_id]:
            raise LastManager
        rest = [member for member in voters if member_id != member.ID]
        if present is not None and len(rest) < len(voters):
            alive = sum(member.name in present for member in rest)
            if alive < len(rest) // 2 + 1:
                raise QuorumAtRisk(
                    "rpc error: code = FailedPrecondition desc = can't remove member from the "
                    "raft: this would result in a loss of quorum"
                )
        with contextlib.suppress(NoSuchMember):
            await self._client.member_remove(member_id)

    async def step_aside(self) -> None:
        """Before this member stops: hand leadership to another, which takes milliseconds where an
        election would take a second. Nothing happens when it does not lead or is alone."""
        try:
            status = await self._client.status()
            own = status.header.member_id
            if status.leader != own:
                return
            others = [m for m in await self._client.members() if _votes(m) and own != m.ID]
            for other in others:
                try:
                    return await self._client.move_leader(other.ID)
                except (Unavailable, Internal) as error:  # gone, or no longer a voter
                    log.debug("leadership could not go to %x: %s", other.ID, error)
        except Unavailable as error:
            log.info("leadership of the store was not handed on: %s", error)


def _votes(member: wire.EtcdMember) -> bool:
    return bool(member.name) and not member.isLearner
