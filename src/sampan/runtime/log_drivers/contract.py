"""What a log driver is.

The monitor writes every line of a run into a file of the engine's, whatever the driver: the run
goes on without the daemon, and so does its log. From there a driver is one of three things:

    kept      the file is the log, rotated as the options say, and read back (json-file, local)
    nothing   no file is written (none)
    sink      the file is a bounded cache: a forwarder reads it and hands every entry to the sink
              that ``open`` gives, from where it stopped last (plugins)

So a sink sees entries *at least once* and in order, also over restarts of the daemon, and loses
some only when it falls so far behind that the cache has rotated them away.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sampan.errors import InvalidArgument
from sampan.runtime.contract import LogEntry, Stream


class UnknownLogDriver(InvalidArgument):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"logger: no log driver named '{name}' is registered: see the log drivers that "
            "`sampan info` lists, or start the plugin of that name"
        )
        self.name = name


class UnknownLogOption(InvalidArgument):
    def __init__(self, option: str, driver: str) -> None:
        super().__init__(f"unknown log opt '{option}' for {driver} log driver")
        self.option, self.driver = option, driver


@dataclass(frozen=True, slots=True, kw_only=True)
class LogCapabilities:
    """What a driver does. Asked instead of its name."""

    keeps: bool = True
    """The monitor writes a file: the log itself, or a sink's cache. False: not a line is kept."""
    forwards: bool = False
    """Entries go to a sink: ``open`` is called for every run. False: the file is all there is."""
    reads: bool = False
    """``read`` works: the driver gives back what its sink has taken. False: ``logs`` reads the
    file, where one is kept."""


@dataclass(frozen=True, slots=True)
class FileRule:
    """How large the file of a log may get, and how many there are, the current one included."""

    max_bytes: int = 0
    """0: unlimited."""
    max_files: int = 1
    compress: bool = False
    """Those that are complete are compressed."""


UNBOUNDED = FileRule()


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedContainer:
    """Whose log it is, for those drivers that tag or file entries by it."""

    id: str
    name: str
    image_id: str
    image_name: str
    entrypoint: str
    args: tuple[str, ...]
    created_at: float
    """Seconds since the epoch."""
    env: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    """``--log-opt``, complete: the daemon's defaults included."""
    hostname: str = ""
    path: Path | None = None
    """The monitor's file; a driver reads it at most."""
    daemon: str = "sampan"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    tail: int | None = None
    """How many of the last lines; None: all."""
    since_ns: int = 0
    until_ns: int = 0
    """Nanoseconds since the epoch; 0: no bound."""
    streams: frozenset[Stream] = frozenset(("stdout", "stderr"))
    follow: bool = False


class Sink(Protocol):
    """Takes one run's entries. Used by one task: calls never overlap."""

    async def write(self, entries: Sequence[LogEntry]) -> None:
        """Lines are whole, but for those of more than 16 KiB, which come in pieces of that size.
        Returns once they are taken: the place behind them is remembered then. May wait as long
        as it likes: neither the container nor another one's log waits for it.

        Raises:
            SampanError, OSError: not taken. The same entries come again, after a pause and to a
                sink that is opened anew.
        """
        ...

    async def close(self) -> None:
        """The run has ended and all was written, or the daemon stops, or ``write`` has failed."""
        ...


class LogDriver(Protocol):
    """One kind of log. Has no state of a container: what it needs comes with every call."""

    @property
    def capabilities(self) -> LogCapabilities: ...

    def validate(self, options: Mapping[str, str]) -> None:
        """Refuse options that it does not know, or whose values make no sense.

        Raises:
            InvalidArgument: UnknownLogOption, or what is wrong with a value.
            Unsupported: an option of Docker's that is not there, with the reason.
        """
        ...

    def file_rule(self, options: Mapping[str, str]) -> FileRule:
        """How the monitor's file is kept in bounds. Not asked when ``keeps`` is False.

        Raises:
            InvalidArgument: as ``validate``.
        """
        ...

    async def open(self, container: LoggedContainer) -> Sink:
        """A run of ``container`` begins, or is found again by a new daemon. Called by the
        forwarder, beside the start and not in it: what is slow here delays no start. Only called
        with ``forwards``.

        Raises:
            SampanError, OSError: tried again after a pause.
        """
        ...

    def read(self, container: LoggedContainer, query: LogQuery) -> AsyncIterator[list[LogEntry]]:
        """What the driver has kept of it, in order. Only called with ``reads``."""
        ...
