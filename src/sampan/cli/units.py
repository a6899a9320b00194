"""Sizes and times as people write and read them. Pure."""

from __future__ import annotations

from sampan.units import duration_ns, size_bytes, span_words


def parse_size(text: str) -> int:
    """Bytes of ``512m``, ``1.5g``, ``64MiB``; units are powers of 1024. Raises ValueError."""
    try:
        return size_bytes(text)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None


def parse_duration(text: str) -> int:
    """Nanoseconds of ``1m30s``, ``500ms``, ``0``, also negative ones. Raises ValueError."""
    try:
        return duration_ns(text, signed=True)
    except ValueError:
        raise ValueError(f"invalid duration {text!r}: write it like 1m30s") from None


def ago(seconds: float) -> str:
    """``2 minutes ago``."""
    return f"{span_words(max(seconds, 0.0))} ago"


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
