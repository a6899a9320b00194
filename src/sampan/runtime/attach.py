"""Attached to a run: a connection to its monitor's socket.

The socket is SOCK_SEQPACKET. From the monitor each packet is one byte that names the stream (2
stdout, 3 stderr) and then the bytes; to the monitor it is stdin. Several clients may be connected.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from sampan.runtime.contract import NoSuchRun, Stream
from sampan.runtime.streams import Chunks, packet_writer

_STREAMS: dict[int, Stream] = {2: "stdout", 3: "stderr"}
_PACKET = 8192
"""The monitor reads stdin into a buffer of this size: a longer packet would be cut."""
_RECEIVE = 1 << 16


class MonitorAttachment:
    """AttachStream of a run."""

    def __init__(self, connection: socket.socket, *, half_close: bool) -> None:
        self._socket = connection
        self._half_close = half_close
        self._chunks = Chunks()
        self._writer = packet_writer(connection, _PACKET)
        self._parked = False
        self._fd = connection.fileno()
        self._chunks.add(self._fd, self._readable)

    async def output(self) -> AsyncIterator[tuple[Stream, bytes]]:
        async for item in self._chunks:
            yield item

    async def write(self, data: bytes) -> None:
        await self._writer.write(data)

    async def close_stdin(self) -> None:
        if self._half_close and not self._writer.closed:
            self._writer.close()
            self._socket.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        if self._half_close and not self._writer.closed:
            # The monitor takes a lost client for the end of stdin, which may be another
            # client's: this one is kept, unread, until the run ends.
            self._writer.close()
            self._parked = True
            self._chunks.discard()
        else:
            self._end()

    def _readable(self) -> None:
        try:
            packet = self._socket.recv(_RECEIVE)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._end()
        elif not self._parked and (stream := _STREAMS.get(packet[0])):
            self._chunks.put(stream, packet[1:])

    def _end(self) -> None:
        if self._fd >= 0:
            self._writer.close()
            self._chunks.remove(self._fd)
            self._socket.close()
            self._fd = -1


def connect(directory: Path, *, half_close: bool) -> MonitorAttachment:
    """Connect to the monitor of the run in ``directory``. Does not block: it listens already.

    Args:
        half_close: closing stdin, or leaving, ends the container's stdin.

    Raises:
        NoSuchRun: the monitor is gone.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    # A socket's path has 107 bytes at most; through a descriptor of the directory any path fits.
    try:
        fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.setblocking(False)
            connection.connect(f"/proc/self/fd/{fd}/attach")
        finally:
            os.close(fd)
        return MonitorAttachment(connection, half_close=half_close)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        connection.close()
        raise NoSuchRun(f"the run has ended: its socket does not answer ({error})") from None
    except BaseException:
        connection.close()
        raise
