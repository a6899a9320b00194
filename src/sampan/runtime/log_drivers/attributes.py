"""What ``logs --details`` shows before a line: of the container's labels and environment, those
that the options ``labels``, ``labels-regex``, ``env``, ``env-regex`` choose, and its ``tag``.

They are the same for all lines of a container, so they are worked out when a log is read and not
written into the file with every line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote_plus

from sampan.errors import InvalidArgument
from sampan.runtime.log_drivers.contract import LoggedContainer

_FIELD = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}")


def check(options: Mapping[str, str]) -> None:
    """Raises InvalidArgument: an expression or a tag that cannot be read."""
    for name in ("labels-regex", "env-regex"):
        _pattern(options, name)
    tag(options.get("tag", ""), {})


def attributes(container: LoggedContainer) -> dict[str, str]:
    """Name -> value, in no order."""
    options = container.options
    environment = dict(entry.partition("=")[::2] for entry in container.env if "=" in entry)
    found: dict[str, str] = {}
    for option, values in (("labels", container.labels), ("env", environment)):
        names = options.get(option, "").split(",")
        pattern = _pattern(options, f"{option}-regex")
        for name, value in values.items():
            if name in names or (pattern is not None and pattern.search(name)):
                found[name] = value
    if options.get("tag"):
        found["tag"] = tag(options["tag"], _fields(container))
    return found


def details(container: LoggedContainer) -> bytes:
    """As it stands before a line, without the space behind it."""
    return ",".join(
        f"{quote_plus(name)}={quote_plus(value)}"
        for name, value in sorted(attributes(container).items())
    ).encode()


def tag(template: str, fields: Mapping[str, str]) -> str:
    """``template`` with ``{{.ID}}`` and its like filled in; without ``fields``, only checked.

    Raises:
        InvalidArgument: something in braces that no container has, or a brace without its other.
    """

    def fill(match: re.Match[str]) -> str:
        name = match[1].removeprefix(".")
        if not match[1].startswith(".") or name not in FIELDS:
            raise InvalidArgument(
                f"invalid log opt tag: {match[0]}: known are "
                + ", ".join("{{." + known + "}}" for known in FIELDS)
            )
        return fields.get(name, "")

    if any(brace in _FIELD.sub("", template) for brace in ("{{", "}}")):
        raise InvalidArgument(f"invalid log opt tag: {template}: close every {{{{ with a }}}}")
    return _FIELD.sub(fill, template)


FIELDS = (
    "ID",
    "FullID",
    "Name",
    "ImageID",
    "ImageFullID",
    "ImageName",
    "DaemonName",
    "Command",
    "Hostname",
)


def _fields(container: LoggedContainer) -> dict[str, str]:
    image = container.image_id.partition(":")[2] or container.image_id
    values = (
        container.id[:12],
        container.id,
        container.name,
        image[:12],
        container.image_id,
        container.image_name,
        container.daemon,
        " ".join((container.entrypoint, *container.args)).strip(),
        container.hostname,
    )
    return dict(zip(FIELDS, values, strict=True))


def _pattern(options: Mapping[str, str], name: str) -> re.Pattern[str] | None:
    text = options.get(name)
    if not text:
        return None
    try:
        return re.compile(text)
    except re.error as error:
        raise InvalidArgument(f"invalid log opt {name}: {text!r}: {error}") from error
