"""``LogDriver``: the entries of a container's log go to a plugin, through a FIFO.

    StartLogging {File, Info}     the plugin opens the FIFO and reads entries from it
    StopLogging {File}            nothing more comes
    ReadLogs {Info, Config}       a stream of entries, from a plugin that says it can

A FIFO loses what its reader had not read when it died. So a sink remembers the entries that may
still be in the pipe, and its successor for the same container begins with them: the plugin sees
every entry at least once.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import shutil
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from sampan.aio import Clock, Tasks, in_thread, within
from sampan.plugins import log_entry as wire
from sampan.plugins.client import PluginClient
from sampan.plugins.errors import BadAnswer, NoAnswer, PluginFailed, PluginRefused
from sampan.plugins.fifo import FifoWriter
from sampan.plugins.wire import Answer
from sampan.runtime.contract import LogEntry, Stream
from sampan.runtime.log_drivers.contract import FileRule, LogCapabilities, LoggedContainer, LogQuery
from sampan.runtime.log_drivers.options import cache, check_mode

log = logging.getLogger(__name__)

OPEN_S = 30.0
"""How long a plugin may take to open the FIFO after it has said that it does."""
STOP_S = 4.0
"""How long a plugin may take to answer that nothing more comes."""
DRAIN_S = 5.0
"""How long it may take to read the rest at the end of a run. Both together are less than the engine
gives a sink that is closed."""
BLOCK = 200
"""Entries that are encoded in one go: one takes some 10 microseconds."""
PIPE_BYTES = 64 << 10
"""A pipe's size: what its reader may have left in it."""
LEFT_MOST = 200
"""Containers whose unread entries are kept for their next sink; of more, the oldest are dropped."""
ZERO_TIME = "0001-01-01T00:00:00Z"
"""How Go writes a time that was not said."""


class _Info(msgspec.Struct, rename="pascal", kw_only=True):
    config: Mapping[str, str]
    container_id: str = msgspec.field(name="ContainerID")
    container_name: str
    container_entrypoint: str
    container_args: Sequence[str]
    container_image_id: str = msgspec.field(name="ContainerImageID")
    container_image_name: str
    container_created: str
    container_env: Sequence[str]
    container_labels: Mapping[str, str]
    log_path: str = ""
    daemon_name: str


class _Start(msgspec.Struct, rename="pascal"):
    file: str
    info: _Info


class _Stop(msgspec.Struct, rename="pascal"):
    file: str


class _ReadConfig(msgspec.Struct, rename="pascal"):
    since: str
    until: str
    tail: int
    follow: bool


class _Read(msgspec.Struct, rename="pascal"):
    info: _Info
    config: _ReadConfig


class _Capability(msgspec.Struct, frozen=True, rename="pascal"):
    read_logs: bool = False


class _Capabilities(Answer, frozen=True, rename="pascal", kw_only=True):
    cap: _Capability = _Capability()
    """Where Docker reads it from."""
    read_logs: bool = False
    """Where Docker's manual has it."""


class PluginLogDriver:
    """See ``sampan.runtime.log_drivers.contract.LogDriver``."""

    def __init__(
        self, client: PluginClient, directory: Path, clock: Clock, *, reads: bool = False
    ) -> None:
        self._client = client
        self._directory = directory
        self._clock = clock
        self._reads = reads
        self._left: dict[str, bytes] = {}
        """Container id -> encoded entries that its last sink's reader did not take."""

    @classmethod
    async def of(cls, client: PluginClient, directory: Path, clock: Clock) -> PluginLogDriver:
        """Ask the plugin what it can do. FIFOs are made in ``directory``, which is this driver's
        own and is emptied: a daemon that was killed has left some.

        Raises:
            PluginFailed: it does not answer.
        """
        try:
            said = await client.call("LogDriver.Capabilities", None, _Capabilities)
        except PluginRefused as error:
            log.debug("%s: taken as without capabilities", error)
            said = _Capabilities()
        await in_thread(shutil.rmtree, directory, ignore_errors=True)
        return cls(client, directory, clock, reads=said.cap.read_logs or said.read_logs)

    @property
    def capabilities(self) -> LogCapabilities:
        return LogCapabilities(keeps=True, forwards=True, reads=self._reads)

    def validate(self, options: Mapping[str, str]) -> None:
        """Those that are the engine's. Only the plugin knows the others, and may refuse them when
        a run begins."""
        check_mode(options)
        cache(options)

    def file_rule(self, options: Mapping[str, str]) -> FileRule:
        return cache(options)

    async def open(self, container: LoggedContainer) -> PluginSink:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        fifo = FifoWriter(self._directory / secrets.token_hex(32), self._clock)
        method, tasks = "LogDriver.StartLogging", Tasks()
        try:
            # At once: a plugin may well open it, which waits for us, before it answers.
            connecting = tasks.spawn(fifo.connect(), name=f"log/{container.id[:12]}")
            await self._client.call(method, _Start(str(fifo.path), _info(container)), Answer)
            await within(self._clock, OPEN_S, connecting)
            sink = PluginSink(self._client, fifo, self._clock, self._left, container.id)
            await sink.begin()
        except TimeoutError:
            fifo.close()
            problem = f"it has not opened {fifo.path} within {OPEN_S:g} s"
            raise NoAnswer(self._client.name, method, problem) from None
        except BaseException:
            fifo.close()
            raise
        finally:
            await tasks.close()
        return sink

    async def read(
        self, container: LoggedContainer, query: LogQuery
    ) -> AsyncIterator[list[LogEntry]]:
        config = _ReadConfig(
            _time(query.since_ns),
            _time(query.until_ns),
            -1 if query.tail is None else query.tail,
            query.follow,
        )
        method, entries = "LogDriver.ReadLogs", wire.Entries()
        async with self._client.stream(method, _Read(_info(container), config)) as chunks:
            try:
                async for chunk in chunks:
                    if batch := list(_asked(entries.feed(chunk), query)):
                        yield batch
                entries.finish()
            except wire.BadEntry as error:
                raise BadAnswer(self._client.name, method, str(error)) from error


class PluginSink:
    """One run's FIFO. ``left`` is where what the plugin did not read waits for the next sink."""

    def __init__(
        self,
        client: PluginClient,
        fifo: FifoWriter,
        clock: Clock,
        left: dict[str, bytes],
        container_id: str,
    ) -> None:
        self._client, self._fifo, self._clock = client, fifo, clock
        self._left, self._container_id = left, container_id
        self._lines = {"stdout": _Line("stdout"), "stderr": _Line("stderr")}
        self._sent: deque[bytes] = deque()
        """The last entries that were taken, as many as fit into the pipe."""
        self._sent_bytes = 0

    async def begin(self) -> None:
        """Send first what the last sink's reader did not take."""
        if left := self._left.get(self._container_id):
            await self._fifo.write(left)
            self._remember([left])
            del self._left[self._container_id]

    async def write(self, entries: Sequence[LogEntry]) -> None:
        data: list[bytes] = []
        written = 0
        try:
            for at in range(0, len(entries), BLOCK):
                block = [
                    wire.encode(self._lines[entry.stream].entry(entry))
                    for entry in entries[at : at + BLOCK]
                ]
                data += block
                await self._fifo.write(b"".join(block))
                written += sum(map(len, block))
                await asyncio.sleep(0)  # a batch is long, and the loop is everybody's
        except BrokenPipeError:
            # These entries come again; those before them do not.
            self._keep(self._fifo.unread() - written)
            raise
        self._remember(data)

    def _remember(self, data: Sequence[bytes]) -> None:
        self._sent.extend(data)
        self._sent_bytes += sum(map(len, data))
        while self._sent_bytes - len(self._sent[0]) >= PIPE_BYTES:
            self._sent_bytes -= len(self._sent.popleft())

    def _keep(self, unread: int) -> None:
        """The last ``unread`` bytes that were taken were not read: keep their entries, whole."""
        kept: list[bytes] = []
        while unread > 0 and self._sent:
            kept.append(self._sent.pop())
            unread -= len(kept[-1])
        self._sent.clear()
        if kept:
            self._left[self._container_id] = b"".join(reversed(kept))
            while len(self._left) > LEFT_MOST:
                del self._left[next(iter(self._left))]

    async def close(self) -> None:
        """The plugin has all of it before it hears that the log has ended: many of them close the
        FIFO at that word, read or not."""
        try:
            if not await self._fifo.drained(DRAIN_S):
                self._keep(self._fifo.unread())
            stop = _Stop(str(self._fifo.path))
            await within(
                self._clock, STOP_S, self._client.call("LogDriver.StopLogging", stop, Answer)
            )
        except (PluginFailed, TimeoutError) as error:
            log.warning("the log of container %s: %s", self._container_id[:12], error)
        finally:
            self._fifo.close()


class _Line:
    """The pieces of a line that is too long for one entry get a common id and count up."""

    def __init__(self, source: Stream) -> None:
        self._source = source
        self._id, self._ordinal = "", 0

    def entry(self, entry: LogEntry) -> wire.LogEntry:
        piece: wire.Partial | None = None
        if entry.partial or self._id:
            self._id = self._id or secrets.token_hex(32)
            self._ordinal += 1
            piece = wire.Partial(self._id, self._ordinal, last=not entry.partial)
            if not entry.partial:
                self._id, self._ordinal = "", 0
        line = entry.line.removesuffix(b"\n") if not entry.partial else entry.line
        return wire.LogEntry(self._source, entry.time_ns, line, piece is not None, piece)


def _asked(entries: Iterator[wire.LogEntry], query: LogQuery) -> Iterator[LogEntry]:
    for entry in entries:
        stream: Stream = "stderr" if entry.source == "stderr" else "stdout"
        # plugins should heed the times, and some do not
        if stream not in query.streams or entry.time_ns < query.since_ns:
            continue
        if query.until_ns and entry.time_ns > query.until_ns:
            continue
        last = entry.piece is None or entry.piece.last
        if entry.line.endswith(b"\n") or not entry.partial or (entry.piece is not None and last):
            yield LogEntry(entry.time_ns, stream, entry.line.removesuffix(b"\n") + b"\n")
        else:
            yield LogEntry(entry.time_ns, stream, entry.line, True)


def _info(container: LoggedContainer) -> _Info:
    return _Info(
        config=container.options,
        container_id=container.id,
        container_name=f"/{container.name}",
        container_entrypoint=container.entrypoint,
        container_args=container.args,
        container_image_id=container.image_id,
        container_image_name=container.image_name,
        container_created=_time(int(container.created_at * 1e9)),
        container_env=container.env,
        container_labels=container.labels,
        daemon_name=container.daemon,
    )


def _time(ns: int) -> str:
    if not ns:
        return ZERO_TIME
    seconds, rest = divmod(ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}Z"
