"""Two small protocols of attached streams, without any I/O: frames and detach keys.

A stream without a terminal carries stdout and stderr in one connection, as frames of 8 header
bytes (stream number, three zeros, big-endian length) and the payload.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from functools import lru_cache

from sampan.errors import InvalidArgument
from sampan.runtime.contract import LogEntry, Stream

RAW_STREAM = "application/vnd.docker.raw-stream"
MULTIPLEXED_STREAM = "application/vnd.docker.multiplexed-stream"

_HEADER = struct.Struct(">BxxxL").pack
STDOUT, STDERR, SYSTEM = 1, 2, 3
NUMBER: dict[Stream, int] = {"stdout": STDOUT, "stderr": STDERR}

DEFAULT_DETACH_KEYS = b"\x10\x11"
"""ctrl-p ctrl-q."""


def frame(stream: Stream, data: bytes) -> bytes:
    """One chunk of output as a frame."""
    return _HEADER(NUMBER[stream], len(data)) + data


def error_frame(message: str) -> bytes:
    """A sentence for the user in the middle of a stream that has started already."""
    data = message.encode()
    return _HEADER(SYSTEM, len(data)) + data


def content_type(version: tuple[int, int], *, tty: bool) -> str:
    """Of a response that carries a container's output: clients before 1.42 know one name only."""
    return MULTIPLEXED_STREAM if not tty and version >= (1, 42) else RAW_STREAM


def log_bytes(entries: Iterable[LogEntry], *, tty: bool, stamp: bool, details: bytes) -> bytes:
    """A batch of log lines as they go to the client."""
    out: list[bytes] = []
    for entry in entries:
        line = details + entry.line if details else entry.line
        if stamp:
            line = nano_stamp(entry.time_ns) + b" " + line
        if tty:
            out.append(line)
        else:
            out.append(_HEADER(NUMBER[entry.stream], len(line)))
            out.append(line)
    return b"".join(out)


def nano_stamp(time_ns: int) -> bytes:
    """RFC 3339 with all nine digits, as ``logs --timestamps`` prints it."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    return _second(seconds) + b".%09dZ" % nanos


@lru_cache(maxsize=256)
def _second(seconds: int) -> bytes:
    """Lines come in runs of the same second. A pure function: whoever shares it sees no more of
    it than that it is fast."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode()


def parse_detach_keys(text: str) -> bytes:
    """``"ctrl-p,ctrl-q"`` or single characters, to the bytes a terminal sends.

    Raises:
        InvalidArgument: no such key.
    """
    if not text:
        return DEFAULT_DETACH_KEYS
    keys = bytearray()
    for name in text.split(","):
        if len(name) == 1:
            keys += name.encode()
            continue
        key = name.lower().removeprefix("ctrl-")
        if (
            name.lower().startswith("ctrl-")
            and len(key) == 1
            and key in "abcdefghijklmnopqrstuvwxyz@[\\]^_"
        ):
            keys.append(ord(key.upper()) & 0x1F)
        else:
            raise InvalidArgument(f"Unknown character: '{name}'")
    return bytes(keys)


class DetachKeys:
    """Watches what is typed for the detach sequence. Feed it; it says what to pass on.

    A prefix of the sequence is held back until it is clear what it was.
    """

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Bytes for the container, and whether the sequence is complete."""
        keys = self._keys
        if not self._matched and keys[0] not in data:
            return data, False
        out = bytearray()
        for byte in data:
            if byte == keys[self._matched]:
                self._matched += 1
                if self._matched == len(keys):
                    self._matched = 0
                    return bytes(out), True
                continue
            if self._matched:
                out += keys[: self._matched]
                self._matched = 0
                if byte == keys[0]:
                    self._matched = 1
                    continue
            out.append(byte)
        return bytes(out), False
