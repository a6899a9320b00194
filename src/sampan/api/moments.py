"""Times as the API writes and reads them. Records hold seconds since the epoch."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

from sampan.errors import InvalidArgument

ZERO = "0001-01-01T00:00:00Z"
"""Go's zero time: never happened."""

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def rfc3339(seconds: float) -> str:
    """RFC 3339 with the fraction's trailing zeros cut, as Go prints it; ``ZERO`` for 0."""
    if not seconds:
        return ZERO
    return rfc3339_ns(round(seconds * 1e6) * 1000)


def rfc3339_ns(time_ns: int) -> str:
    """The same from nanoseconds."""
    whole, nanos = divmod(time_ns, 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{stamp}.{nanos:09d}".rstrip("0") + "Z" if nanos else f"{stamp}Z"


def duration_s(written: str) -> float | None:
    """Go's durations (``1h30m``, ``1.5s``) in seconds; None when it is not one."""
    sign, body = (-1.0, written[1:]) if written.startswith("-") else (1.0, written)
    parts = _DURATION.findall(body)
    if not body or "".join(number + unit for number, unit in parts) != body:
        return None
    return sign * sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def parse_ns(written: str, name: str, *, now: float | None = None) -> int:
    """A moment as clients write it, in nanoseconds: unix seconds with a fraction, RFC 3339 or a
    local time without zone, or a duration before now.

    Raises:
        InvalidArgument: none of these; names the parameter ``name``.
    """
    if not written:
        return 0
    seconds, _, fraction = written.partition(".")
    if seconds.lstrip("-").isdigit() and (not fraction or fraction.isdigit()):
        return int(seconds) * 1_000_000_000 + int((fraction + "000000000")[:9])
    if (span := duration_s(written)) is not None:
        return int(((time.time() if now is None else now) - span) * 1e9)
    try:
        # Python keeps six digits of a second; the three beyond them are added by hand.
        short = re.sub(r"(\.[0-9]{6})[0-9]+", r"\1", written)
        moment = datetime.fromisoformat(short)
    except ValueError as error:
        raise InvalidArgument(
            f"invalid value {written!r} for {name}: give a unix timestamp, an RFC 3339 date "
            "or a duration such as 10m"
        ) from error
    if moment.tzinfo is None:
        moment = moment.astimezone()
    since_epoch = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since_epoch // timedelta(microseconds=1)) * 1000


def ago(seconds: float, now: float) -> str:
    """A span as ``docker ps`` words it: "5 minutes"."""
    span = max(0, int(now - seconds))
    if span < 1:
        return "Less than a second"
    if span == 1:
        return "1 second"
    if span < 60:
        return f"{span} seconds"
    minutes = span // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(span / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    whole_hours = span // 3600
    if whole_hours < 24 * 7 * 2:
        return f"{whole_hours // 24} days"
    if whole_hours < 24 * 30 * 2:
        return f"{whole_hours // 24 // 7} weeks"
    if whole_hours < 24 * 365 * 2:
        return f"{whole_hours // 24 // 30} months"
    return f"{whole_hours // 24 // 365} years"
