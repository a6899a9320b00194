"""Sizes and times as people write and read them. Pure."""

from __future__ import annotations

_BINARY = {"": 0, "b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


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


def parse_size(text: str) -> int:
    """Bytes of ``512m``, ``1.5g``, ``64MiB``; units are powers of 1024. Raises ValueError."""
    plain = text.strip().lower()
    digits = plain.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = plain[len(digits) :].strip()
    unit = unit.removesuffix("ib") if len(unit) == 3 else unit[:1] if unit[1:] in ("b", "") else "?"
    try:
        if unit not in _BINARY:
            raise ValueError
        return int(float(digits) * 1024 ** _BINARY[unit])
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None


def parse_duration(text: str) -> int:
    """Nanoseconds of ``1m30s``, ``500ms``, ``0``. Raises ValueError."""
    import re

    plain = text.strip()
    if plain in ("0", "+0", "-0"):
        return 0
    match = re.fullmatch(r"([+-]?)((?:\d+\.?\d*(?:ns|us|µs|ms|s|m|h))+)", plain)
    if not match:
        raise ValueError(f"invalid duration {text!r}: write it like 1m30s")
    parts = re.findall(r"(\d+\.?\d*)(ns|us|µs|ms|s|m|h)", match[2])
    total = sum(round(float(number) * _SECONDS[unit] * 1e9) for number, unit in parts)
    return -total if match[1] == "-" else total


def human_duration(seconds: float) -> str:
    """``About a minute``, ``3 hours``; as docker rounds."""
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


def ago(seconds: float) -> str:
    """``2 minutes ago``."""
    return f"{human_duration(max(seconds, 0.0))} ago"


def parse_time(text: str) -> float:
    """Seconds since 1970 of an RFC 3339 time; 0 of the zero time. Raises ValueError."""
    from datetime import datetime

    if not text or text.startswith("0001-"):
        return 0.0
    plain = text.replace("Z", "+00:00")
    head, dot, tail = plain.partition(".")
    if dot:
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        plain = f"{head}.{digits[:6]:0<6}{tail[len(digits) :]}"
    return datetime.fromisoformat(plain).timestamp()


def local_time(seconds: float) -> str:
    """``2026-08-01 10:00:00 +0000 UTC`` in the local time zone, as docker's ``CreatedAt``."""
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(seconds))


def since(text: str, now: float) -> str:
    """A moment as the API takes it: ``10m`` counts back from ``now``, other forms stay."""
    try:
        back = parse_duration(text)
    except ValueError:
        return _zoned(text)
    if text == "0":
        return text  # the beginning of time
    return f"{now - back / 1e9:.9f}"


def _zoned(text: str) -> str:
    """A date without a zone is the user's local time; numbers and full RFC 3339 stay."""
    if text.replace(".", "", 1).isdecimal() or "-" not in text:
        return text
    from datetime import datetime

    try:
        return f"{datetime.fromisoformat(text.replace('Z', '+00:00')).timestamp():.9f}"
    except ValueError:
        return text
