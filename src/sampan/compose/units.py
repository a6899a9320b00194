"""Ports and command lines as Compose writes them. Pure; ``ValueError`` when they are not."""

from __future__ import annotations


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
