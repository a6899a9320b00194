"""Sizes and durations as people write them, and spans of time as people read them. Pure.

The one copy: what callers differ in are arguments, and what they say when something cannot be read
is theirs. Nothing is imported, since every command of ``sampan`` starts with this.
"""

from __future__ import annotations

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}
_DIGITS = frozenset("0123456789.")


def size_bytes(text: str) -> int:
    """``64m``, ``1.5gb``, ``64MiB``, ``1024`` in bytes; units are powers of 1024.

    Raises:
        ValueError: it has another form.
    """
    plain = text.strip().lower()
    number = plain.rstrip("bikmgtp ")
    unit = plain[len(number) :].strip()
    power = unit.removesuffix("b").removesuffix("i")
    if power not in _POWERS or not number or not _is_number(number.removeprefix("-")):
        raise ValueError(f'"{text}" is not a size: write it like "64m" or "1gb"')
    return int(float(number) * 1024 ** _POWERS[power])


def duration_ns(text: str, *, days: bool = False, signed: bool = False) -> int:
    """``1m30s``, ``500ms``, ``0`` in nanoseconds, as Go reads them.

    Args:
        days: whether ``d`` is a unit, too.
        signed: whether it may begin with a sign.

    Raises:
        ValueError: it has another form.
    """
    plain = text.strip()
    sign = -1 if signed and plain.startswith("-") else 1
    if signed and plain[:1] in ("-", "+"):
        plain = plain[1:]
    if plain == "0":
        return 0
    at, total = 0, 0
    while at < len(plain):
        end = at
        while end < len(plain) and plain[end] in _DIGITS:
            end += 1
        unit = next((u for u in _NS if plain.startswith(u, end)), "")
        if not _is_number(plain[at:end]) or not unit or (unit == "d" and not days):
            break
        total += round(float(plain[at:end]) * _NS[unit])
        at = end + len(unit)
    if not plain or at < len(plain):
        raise ValueError(f'"{text}" is not a duration: write it like "1m30s" or "500ms"')
    return sign * total


def _is_number(text: str) -> bool:
    """Digits with at most one point among them."""
    return text.count(".") <= 1 and text.replace(".", "", 1).isdecimal() and text.isascii()


def duration_text(ns: int) -> str:
    """A duration as Go prints it: ``1m30s``."""
    if ns == 0:
        return "0s"
    if ns < 10**9:
        return f"{ns / 10**6:g}ms"
    seconds, rest = divmod(ns, 10**9)
    hours, minutes, left = seconds // 3600, seconds // 60 % 60, seconds % 60 + rest / 10**9
    out = f"{hours}h" if hours else ""
    out += f"{minutes}m" if minutes or hours else ""
    return f"{out}{left:g}s"


def span_words(seconds: float) -> str:
    """A span as docker words it: ``About a minute``, ``3 hours``."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    for limit, length, name in (
        (24 * 14, 24, "days"),
        (24 * 60, 24 * 7, "weeks"),
        (24 * 730, 24 * 30, "months"),
    ):
        if hours < limit:
            return f"{hours // length} {name}"
    return f"{int(seconds / 3600) // (24 * 365)} years"


def human_size(size: float, digits: int = 4) -> str:
    """Decimal units: ``4.26MB``. ``digits`` are significant ones."""
    return _scale(size, 1000.0, ("B", "kB", "MB", "GB", "TB", "PB", "EB"), digits)


def binary_size(size: float) -> str:
    """Binary units: ``1.5MiB``."""
    return _scale(size, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"), 4)


def _scale(size: float, base: float, names: tuple[str, ...], digits: int) -> str:
    at = 0
    while size >= base and at < len(names) - 1:
        size /= base
        at += 1
    return f"{size:.{digits}g}{names[at]}"
