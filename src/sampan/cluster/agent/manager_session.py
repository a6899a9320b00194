"""The agent's end of its one session: find a manager, say hello, listen, find another.

Managers are tried in a random order, the preferred one first. A round without success is followed
by a pause with jitter, so that a hundred nodes whose manager died do not fall upon the next one in
the same instant.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

import msgspec

from sampan.aio import Clock, deadline, first_of
from sampan.cluster.agent.reports import Reports
from sampan.cluster.agent.worker import TaskWorker
from sampan.cluster.backoff import backoff_s
from sampan.cluster.peer.contract import Client, NotMember, Socket, SocketClosed
from sampan.cluster.protocol.messages import (
    SESSION_PATH,
    DescriptionChanged,
    Down,
    Goodbye,
    Heartbeat,
    Hello,
    Joined,
    Kick,
    decode_down,
    encode,
)
from sampan.cluster.records import NodeDescription
from sampan.errors import SampanError

log = logging.getLogger(__name__)

CONNECT_DEADLINE_S = 4.0
GOODBYE_S = 2.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
SILENT_PERIODS = 2.5
"""Heartbeats without an answer after which the manager counts as gone: a little less than what the
managers allow us, so that we are elsewhere before we are given up."""


class NodeRemoved(Exception):
    """The cluster no longer knows this node."""


class ManagerSessions:
    def __init__(
        self,
        client: Client,
        worker: TaskWorker,
        reports: Reports,
        clock: Clock,
        rng: random.Random,
        *,
        hello: Callable[[], Hello],
        heard: Callable[[Down], Awaitable[None]],
    ) -> None:
        self.prefer = ""
        """Address of the manager to try first: the one on this host."""
        self.manager = ""
        """Address of the manager that holds the session; empty: none."""
        self._period_s = 1.0
        self._period_changed = asyncio.Event()
        self._client, self._worker, self._reports = client, worker, reports
        self._clock, self._rng = clock, rng
        self._hello, self._heard = hello, heard
        self._socket: Socket | None = None

    async def run(self, seeds: Callable[[], tuple[str, ...]]) -> None:
        """Keep a session until cancelled.

        Raises:
            Removed
        """
        failures = 0
        while True:
            for address in self._order(seeds()):
                if await self._attempt(address):
                    failures = 0
                    break
            else:
                failures += 1
            limit = backoff_s(failures + 1, FIRST_PAUSE_S, LONGEST_PAUSE_S)
            await self._clock.sleep(limit * self._rng.uniform(0.2, 1.0))

    def _order(self, addresses: tuple[str, ...]) -> list[str]:
        order = sorted(set(addresses) - {"", self.prefer})
        self._rng.shuffle(order)
        return [self.prefer, *order] if self.prefer else order

    async def _attempt(self, address: str) -> bool:
        """Whether a session came about; returns when it is over."""
        try:
            socket = await self._client.socket(
                address, SESSION_PATH, role="manager", timeout_s=CONNECT_DEADLINE_S
            )
        except NotMember as error:
            raise NodeRemoved(str(error)) from error
        except SampanError as error:
            log.info("manager %s: %s", address, error)
            return False
        try:
            return await self._talk(address, socket)
        finally:
            self.manager, self._socket = "", None
            await socket.close()

    async def _talk(self, address: str, socket: Socket) -> bool:
        listening = _Listening(self._clock.monotonic())
        try:
            await socket.send(encode(self._hello()))
            await first_of(
                incoming=self._listen(address, socket, listening),
                outgoing=self._send(socket, listening),
                beat=self._beat(address, socket, listening),
            )
        except msgspec.DecodeError as error:
            log.info("session with manager %s is over: malformed message: %s", address, error)
        except SampanError as error:
            log.info("session with manager %s is over: %s", address, error)
        return listening.accepted.is_set()

    def beat_every(self, period_s: float) -> None:
        """What the manager asks for: seconds between heartbeats, from now on."""
        if period_s != self._period_s:
            self._period_s = period_s
            self._period_changed.set()

    async def _listen(self, address: str, socket: Socket, listening: _Listening) -> None:
        while True:
            message = decode_down(await socket.receive())
            listening.heard = self._clock.monotonic()
            if isinstance(message, Kick):
                if message.removed:
                    raise NodeRemoved(message.reason)
                raise SocketClosed(message.reason)
            if not listening.accepted.is_set():
                self.manager, self._socket = address, socket
                self._reports.begin(self._worker.statuses)
                listening.accepted.set()
            await self._heard(message)

    async def _send(self, socket: Socket, listening: _Listening) -> None:
        await listening.accepted.wait()
        await self._reports.send(socket)

    async def _beat(self, address: str, socket: Socket, listening: _Listening) -> None:
        while True:
            before = self._clock.monotonic()
            # A manager that has asked for shorter periods does not wait for the end of a long one.
            self._period_changed.clear()
            await first_of(
                due=self._clock.sleep(self._period_s), changed=self._period_changed.wait()
            )
            now = self._clock.monotonic()
            if now - before > 2 * self._period_s:
                listening.heard = now  # it was us who stood still
            elif now - listening.heard > SILENT_PERIODS * self._period_s and (
                listening.accepted.is_set() or now - listening.heard > CONNECT_DEADLINE_S * 2
            ):
                raise SocketClosed(f"manager {address} no longer answers")
            if listening.accepted.is_set():
                await socket.send(encode(Heartbeat()))

    async def describe(self, description: NodeDescription) -> None:
        """Tell the manager, if there is one; a new session begins with it anyway."""
        if self._socket is not None:
            try:
                await self._socket.send(encode(DescriptionChanged(description=description)))
            except SocketClosed as error:
                log.info("the description waits for the next session: %s", error)

    async def joined(self) -> None:
        """Tell the manager, if there is one; a new session's Hello says it anyway."""
        if self._socket is not None:
            try:
                await self._socket.send(encode(Joined()))
            except SocketClosed as error:
                log.info("the next session says that this node has joined: %s", error)

    async def goodbye(self, *, leaving: bool) -> None:
        """The last word of a session. Nobody listening is no failure."""
        socket = self._socket
        if socket is None:
            return
        try:
            async with deadline(self._clock, GOODBYE_S):
                await self._reports.flush(socket)
                await socket.send(encode(Goodbye(leaving=leaving)))
        except (SocketClosed, TimeoutError) as error:
            log.info("no goodbye to manager %s: %s", self.manager, error)


class _Listening:
    def __init__(self, now: float) -> None:
        self.heard = now
        self.accepted = asyncio.Event()
