"""Durations, sizes and ports as Compose writes them. Pure; ``ValueError`` when it is none."""

from __future__ import annotations

import re

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|µs|ns|ms|s|m|h|d)")
_NS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9}
_NS |= {"h": 3600 * 10**9, "d": 86400 * 10**9}
_SIZE = re.compile(r"(-?\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?\Z", re.IGNORECASE)


def duration_ns(text: str) -> int:
    """``1m30s`` in nanoseconds; a bare 0 is fine."""
    if text.strip() == "0":
        return 0
    at = total = 0
    while at < len(text):
        match = _DURATION.match(text, at)
        if not match:
            raise ValueError(f'"{text}" is not a duration; write it like "1m30s" or "500ms"')
        total += int(float(match[1]) * _NS[match[2]])
        at = match.end()
    if not text:
        raise ValueError("an empty duration")
    return total


def duration_text(ns: int) -> str:
    """The inverse of ``duration_ns``, as Go prints it: ``1m30s``."""
    if ns == 0:
        return "0s"
    if ns < 10**9:
        return f"{ns / 10**6:g}ms"
    seconds, rest = divmod(ns, 10**9)
    hours, minutes, left = seconds // 3600, seconds // 60 % 60, seconds % 60 + rest / 10**9
    out = f"{hours}h" if hours else ""
    out += f"{minutes}m" if minutes or hours else ""
    return f"{out}{left:g}s"


def size_bytes(text: str) -> int:
    """``64m``, ``1.5gb``, ``1024`` in bytes (powers of 1024)."""
    match = _SIZE.match(text.strip())
    if not match:
        raise ValueError(f'"{text}" is not a size; write it like "64m" or "1gb"')
    return int(float(match[1]) * 1024 ** " kmgtp".index(match[2].lower() or " "))


def port_range(text: str) -> range:
    """``8000`` or ``8000-8010``."""
    low, _, high = text.partition("-")
    if not low.isdecimal() or (high and not high.isdecimal()) or text.endswith("-"):
        raise ValueError(f'"{text}" is not a port')
    first, last = int(low), int(high or low)
    if not 0 <= first <= last <= 65535:
        raise ValueError(f'"{text}" is not a port or range of ports (0 to 65535)')
    return range(first, last + 1)


def split_port(text: str) -> tuple[str, str, str, str]:
    """``[[IP:]PUBLISHED:]TARGET[/PROTOCOL]`` as (ip, published, target, protocol)."""
    body, _, protocol = text.partition("/")
    head, _, target = body.rpartition(":")
    ip, published = "", head
    if head.startswith("["):
        ip, _, published = head[1:].partition("]")
        published = published.lstrip(":")
    elif ":" in head:
        ip, _, published = head.rpartition(":")
    return ip, published, target, protocol or "tcp"


def split_command(text: str) -> tuple[str, ...]:
    """A shell-like command line as its words."""
    import shlex

    return tuple(shlex.split(text))
