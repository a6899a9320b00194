"""Attached to a run: one connection to its monitor's socket, shared by all who attach.

The socket is SOCK_SEQPACKET. From the monitor each packet is one byte that names the stream (2
stdout, 3 stderr) and then the bytes; to the monitor it is stdin.

The monitor could serve several clients by itself. But conmon 2.1 crashes when some of them go at
once while the container writes, and takes the container's exit code with it; its backlog is short,
so that a crowd is turned away; and it takes a lost client for the end of stdin, which may be
another client's. So it only ever sees one, and the crowd is ours:

    monitor ──one socket──> MonitorConnection ──a Feed each──> attachments
            <──stdin──────── (one writer)     <───────────────

Nothing is dropped: when a reader has more to take than ``HIGH_WATER``, the socket is not read, and
the container waits, as it would with that reader alone. But nobody waits for another: a reader that
has taken nothing for ``STALLED_S`` while others wait for it is let go.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from sampan.aio import Clock
from sampan.errors import Unavailable
from sampan.runtime.contract import NoSuchRun, Stream
from sampan.runtime.feed import Feed
from sampan.runtime.streams import HIGH_WATER, packet_writer

log = logging.getLogger(__name__)

_STREAMS: dict[int, Stream] = {2: "stdout", 3: "stderr"}
_PACKET = 8192
"""The monitor reads stdin into a buffer of this size: a longer packet would be cut."""
_RECEIVE = 1 << 16
STALLED_S = 5.0
_FULL_S, _AGAIN_S = 10.0, 0.005
"""How long the monitor's backlog may be full, and how often we look."""


class MonitorAttachment:
    """AttachStream of a run: one of those who share a connection."""

    def __init__(self, connection: MonitorConnection, feed: Feed) -> None:
        self._connection, self.feed = connection, feed
        self.taken_before = 0
        """Bytes that it had taken when somebody began to wait for it."""

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        async for item in self.feed:
            yield item

    async def write(self, data: bytes) -> None:
        await self._connection.write(data)

    async def close_stdin(self) -> None:
        self._connection.close_stdin()

    async def close(self) -> None:
        self._connection.leave(self)


class MonitorConnection:
    """See above. Ends with the run, or, unless ``half_close``, with the last who leaves."""

    def __init__(
        self,
        connection: socket.socket,
        name: str,
        *,
        half_close: bool,
        stalled_s: float,
        ended: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket, self._fd = connection, connection.fileno()
        self._name, self._half_close, self._ended = name, half_close, ended
        self._stalled_s = stalled_s
        self._writer = packet_writer(connection, _PACKET)
        self._clients: list[MonitorAttachment] = []
        self._paused = self._ends = False
        self._patience: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._fd, self._readable)

    def join(self) -> MonitorAttachment:
        """One more, from the next byte on."""
        client = MonitorAttachment(self, Feed(self._took))
        self._clients.append(client)
        return client

    def leave(self, client: MonitorAttachment) -> None:
        """Idempotent. The run goes on, and so does its stdin."""
        client.feed.end(dropped=True)
        if client in self._clients:
            self._clients.remove(client)
        # A lost client would be the end of stdin to the monitor, where that has one: then the
        # connection is kept for the next, and read so that the container does not wait.
        if not self._clients and not self._half_close:
            self.close()
        else:
            self._took()

    async def write(self, data: bytes) -> None:
        """To stdin. Raises BrokenPipeError."""
        await self._writer.write(data)

    def hurry(self) -> None:
        """The run is killed, and its monitor ends once it has said all: nobody who does not read
        holds that up any longer."""
        self._ends = True
        for client in [one for one in self._clients if one.feed.size > HIGH_WATER]:
            self.leave(client)
        self._took()

    def close_stdin(self) -> None:
        """For all: the container's stdin ends, if it can."""
        if self._half_close and not self._writer.closed:
            self._writer.close()
            self._socket.shutdown(socket.SHUT_WR)

    def _readable(self) -> None:
        try:
            packet = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self.close()
            return
        if (stream := _STREAMS.get(packet[0])) is None:
            return
        data = packet[1:]
        for client in self._clients:
            client.feed.put(stream, data)
        full = [one for one in self._clients if one.feed.size > HIGH_WATER]
        if full and self._ends:
            for client in full:
                self.leave(client)
        elif full and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._fd)
            self._have_patience()

    def _took(self) -> None:
        if self._paused and all(one.feed.size < HIGH_WATER // 2 for one in self._clients):
            self._paused = False
            if self._patience is not None:
                self._patience.cancel()
            self._loop.add_reader(self._fd, self._readable)

    def _have_patience(self) -> None:
        for client in self._clients:
            client.taken_before = client.feed.taken
        self._patience = self._loop.call_later(self._stalled_s, self._lose_patience)

    def _lose_patience(self) -> None:
        waiting = any(not one.feed.size for one in self._clients)
        for client in list(self._clients):
            stalled = client.feed.size and client.feed.taken == client.taken_before
            if waiting and stalled:
                log.warning(
                    "%s: a client that is attached has taken nothing for %.0f s while others "
                    "waited for it: it is let go", self._name, self._stalled_s,
                )  # fmt: skip
                self.leave(client)
        if self._paused:
            self._have_patience()

    def close(self) -> None:
        """Leave the monitor; everybody's stream ends. Idempotent."""
        if self._fd < 0:
            return
        self._writer.close()
        if not self._paused:
            self._loop.remove_reader(self._fd)
        if self._patience is not None:
            self._patience.cancel()
        self._socket.close()
        self._fd = -1
        self._paused = False
        for client in self._clients:
            client.feed.end()
        self._clients.clear()
        self._ended()


class MonitorConnections:
    """Those of one daemon, by run."""

    def __init__(self, clock: Clock, *, stalled_s: float = STALLED_S) -> None:
        self._clock, self._stalled_s = clock, stalled_s
        self._open: dict[str, MonitorConnection] = {}

    async def attach(self, run_id: str, directory: Path, *, half_close: bool) -> MonitorAttachment:
        """Join the run in ``directory``.

        Args:
            half_close: the monitor ends the container's stdin when its client does.

        Raises:
            NoSuchRun: the monitor is gone.
            Unavailable: it takes nobody in.
        """
        deadline = self._clock.monotonic() + _FULL_S
        while True:
            # Nothing suspends between this look and the entry below: a second connection would
            # have to be closed again, which is the end of stdin to the monitor.
            if (known := self._open.get(run_id)) is not None:
                return known.join()
            try:
                connection = _connected(directory)
                break
            except BlockingIOError:
                if self._clock.monotonic() > deadline:
                    raise Unavailable(
                        "the container's monitor takes in nobody: too many want to attach at once. "
                        "Try again"
                    ) from None
            await self._clock.sleep(_AGAIN_S)

        def ended() -> None:
            if self._open.get(run_id) is made:
                del self._open[run_id]

        made = MonitorConnection(
            connection,
            run_id[:12],
            half_close=half_close,
            stalled_s=self._stalled_s,
            ended=ended,
        )
        self._open[run_id] = made
        return made.join()

    def hurry(self, run_id: str) -> None:
        """See ``MonitorConnection.hurry``."""
        if (known := self._open.get(run_id)) is not None:
            known.hurry()

    def forget(self, run_id: str) -> None:
        """The run is over: its place may be another's. Who is attached still gets the rest."""
        self._open.pop(run_id, None)

    def close(self) -> None:
        """The daemon goes."""
        for connection in list(self._open.values()):
            connection.close()


def _connected(directory: Path) -> socket.socket:
    """Does not block: the monitor listens already. Raises NoSuchRun, BlockingIOError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    # A socket's path has 107 bytes at most; through a descriptor of the directory any path fits.
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.setblocking(False)
            connection.connect(f"/proc/self/fd/{fd}/attach")
        finally:
            os.close(fd)
        return connection
    except (FileNotFoundError, ConnectionRefusedError) as error:
        connection.close()
        raise NoSuchRun(f"the run has ended: its socket does not answer ({error})") from None
    except BaseException:
        connection.close()
        raise
