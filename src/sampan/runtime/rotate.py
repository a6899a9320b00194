"""Log rotation that loses nothing: rename first, then tell the monitor to open the name again.

The monitor's own option for a maximum size throws the old file away. It can also be told (over
its control pipe) to open its log anew: until it does, it goes on writing into the renamed file,
so that not a byte is lost. Nobody rotates while the daemon is down; a log may be larger than
asked for by what was written then, and by what a container writes between two looks.
"""

from __future__ import annotations

import errno
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sampan.aio import Clock
from sampan.errors import InvalidArgument
from sampan.store.records import LogConfig

log = logging.getLogger(__name__)

PERIOD_S = 1.0
_REOPEN = b"2 0 0\n"
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmg]?)(?:i?b)?", re.IGNORECASE)
_LOCAL_BYTES, _LOCAL_FILES = 20 << 20, 5


@dataclass(frozen=True, slots=True)
class Rule:
    """How large a log may get, and how many files there are, the current one included."""

    max_bytes: int
    """0: unlimited."""
    max_files: int


def rule_of(config: LogConfig) -> Rule:
    """From ``--log-opt max-size`` and ``max-file``, with each driver's own defaults.

    Raises:
        InvalidArgument: a value that cannot be read.
    """
    local = config.type == "local"
    size = config.options.get("max-size")
    count = config.options.get("max-file")
    if count is not None and not (count.isdigit() and int(count) > 0):
        raise InvalidArgument(f"max-file must be a positive integer, got {count!r}")
    max_bytes = parse_size(size) if size is not None else (_LOCAL_BYTES if local else 0)
    max_files = int(count) if count is not None else (_LOCAL_FILES if local else 1)
    if max_files > 1 and not max_bytes and not local:
        raise InvalidArgument("max-file is set without max-size: set both, or neither")
    return Rule(max_bytes, max_files)


def parse_size(text: str) -> int:
    """Bytes of "10m", "1.5g", "500". "-1" is unlimited: 0.

    Raises:
        InvalidArgument: not a size.
    """
    if text == "-1":
        return 0
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(f"invalid max-size {text!r}: write a number and k, m or g")
    return int(float(match[1]) * _UNITS[match[2].lower()])


def rotate(path: Path, ctl: Path, rule: Rule) -> bool:
    """Rotate ``path`` if it is due; says whether anything was done.

    Renaming goes from the oldest to the newest, so that a crash in between leaves a hole in the
    numbering at worst, never two files of one name.
    """
    try:
        if os.stat(path).st_size < rule.max_bytes:
            return False
    except FileNotFoundError:
        # A daemon died between the rename and the order: give the order again.
        return _reopen(ctl)
    numbered = [path.with_name(f"{path.name}.{n}") for n in range(1, rule.max_files)]
    if not numbered:
        path.unlink()
    for older, newer in zip(reversed(numbered), [*reversed(numbered[:-1]), path], strict=True):
        try:
            newer.rename(older)
        except FileNotFoundError:
            continue
    return _reopen(ctl)


def _reopen(ctl: Path) -> bool:
    try:
        fd = os.open(ctl, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO):
            return False  # the monitor has gone; so has the writer
        raise
    try:
        os.write(fd, _REOPEN)
    finally:
        os.close(fd)
    return True


@dataclass(frozen=True, slots=True)
class Rotated:
    """A log that is looked at."""

    path: Path
    ctl: Path
    rule: Rule


async def watch(logs: Mapping[str, Rotated], clock: Clock) -> None:
    """Look at every log of ``logs`` (which changes as runs come and go), forever.

    A look is one stat a log: an inotify watch would wake us at every line of every container.
    """
    while True:
        await clock.sleep(PERIOD_S)
        for name, entry in list(logs.items()):
            try:
                rotate(entry.path, entry.ctl, entry.rule)
            except OSError as error:
                log.warning("cannot rotate the log of %s: %s", name[:12], error)
