"""Times as the API writes and reads them. Records hold seconds since the epoch."""

from __future__ import annotations

import re
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sampan.errors import InvalidArgument
from sampan.units import duration_ns, span_words

ZERO = "0001-01-01T00:00:00Z"
"""Go's zero time: never happened."""


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
    with suppress(ValueError):
        span_ns = duration_ns(written, signed=True)
        return int((time.time() if now is None else now) * 1e9) - span_ns
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
    return span_words(max(0.0, now - seconds))
