"""Options that several log drivers share: reading them, and refusing what is not there.

``mode`` and ``max-buffer-size`` are every driver's. A container never waits for its log driver
here, because its lines are in a file before the driver sees them: ``blocking`` loses nothing,
``non-blocking`` does not block, and the buffer that ``max-buffer-size`` bounds is always empty.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sampan.errors import InvalidArgument, Unsupported
from sampan.runtime.log_drivers.contract import UNBOUNDED, FileRule, UnknownLogOption
from sampan.units import size_bytes

EVERY_DRIVER = frozenset(("mode", "max-buffer-size"))
ATTRIBUTES = frozenset(("labels", "labels-regex", "env", "env-regex", "tag"))
ROTATION = frozenset(("max-size", "max-file", "compress"))
CACHE = frozenset(("cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"))
CACHE_RULE = FileRule(20 << 20, 5)

_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")


def check_known(options: Mapping[str, str], known: Collection[str], driver: str) -> None:
    """Refuse options that are neither in ``known`` nor every driver's, and check the latter.

    Raises:
        UnknownLogOption, InvalidArgument.
    """
    for option in options:
        if option not in known and option not in EVERY_DRIVER:
            raise UnknownLogOption(option, driver)
    check_mode(options)


def check_mode(options: Mapping[str, str]) -> None:
    """Raises InvalidArgument: ``mode`` or ``max-buffer-size`` makes no sense."""
    mode = options.get("mode", "")
    if mode not in ("", "blocking", "non-blocking"):
        raise InvalidArgument(f"logger: logging mode not supported: {mode}")
    if "max-buffer-size" in options:
        if mode != "non-blocking":
            raise InvalidArgument(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
            )
        _bounded_size(options["max-buffer-size"], "max-buffer-size")


def rotation(
    options: Mapping[str, str], default: FileRule = UNBOUNDED, prefix: str = ""
) -> FileRule:
    """From ``max-size``, ``max-file`` and ``compress`` (``cache-max-size`` ... with that
    ``prefix``).

    Raises:
        InvalidArgument: a value that cannot be read, or nothing would ever be compressed.
    """
    count = options.get(f"{prefix}max-file")
    if count is not None and not (count.isdigit() and int(count) > 0):
        raise InvalidArgument(f"{prefix}max-file must be a positive integer, got {count!r}")
    limit = options.get(f"{prefix}max-size")
    largest = size(limit, f"{prefix}max-size") if limit is not None else default.max_bytes
    most = int(count) if count is not None else default.max_files
    rotates = bool(largest) and most > 1
    asked = flag(options, f"{prefix}compress")
    if asked and not rotates:
        raise InvalidArgument(
            f"{prefix}compress cannot be true when {prefix}max-file is less than 2 or "
            f"{prefix}max-size is not set"
        )
    compress = asked or (default.compress and f"{prefix}compress" not in options)
    return FileRule(largest, most, compress and rotates)


def cache(options: Mapping[str, str]) -> FileRule:
    """How large the file may get from which a sink is fed.

    Raises:
        InvalidArgument, Unsupported: as ``rotation``.
    """
    if flag(options, "cache-disabled"):
        raise Unsupported(
            "log opt cache-disabled=true is not supported: the file is what keeps a line until "
            "the log driver has taken it: leave it out"
        )
    return rotation(options, CACHE_RULE, "cache-")


def flag(options: Mapping[str, str], name: str) -> bool:
    """A truth value; False when it is not given.

    Raises:
        InvalidArgument: it is neither true nor false.
    """
    value = options.get(name, "false")
    if value.lower() not in _TRUE + _FALSE:
        raise InvalidArgument(f"invalid value for log opt {name}: {value!r}: write true or false")
    return value.lower() in _TRUE


def size(text: str, name: str) -> int:
    """Bytes of "10m", "1.5g", "500". "-1" is unlimited: 0.

    Raises:
        InvalidArgument: not a size.
    """
    return 0 if text == "-1" else _bounded_size(text, name)


def _bounded_size(text: str, name: str) -> int:
    """As ``size``, where there is no "unlimited"."""
    try:
        found = size_bytes(text)
    except ValueError:
        found = -1
    if found < 0:
        raise InvalidArgument(f"invalid {name} {text!r}: write a number and k, m or g")
    return found
