"""Values of service flags with a grammar of their own: ports, networks, secrets, resources.

Pure. Every function raises ValueError with a sentence.
"""

from __future__ import annotations

from sampan.cli.flag_values import csv_fields, key_values, nano_cpus, port_range
from sampan.cli.units import parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

    from sampan.flags import Args

_PROTOCOLS = ("tcp", "udp", "sctp")


def given(args: Args, name: str, convert: Callable[[str], Any], default: Any) -> Any:
    """A text flag's value through ``convert``, which may raise ValueError."""
    text = args.maybe(name)
    if text is None:
        return default
    try:
        return convert(text)
    except ValueError as error:
        raise ValueError(f'invalid argument "{text}" for "--{name}" flag: {error}') from None


def unsigned(text: str) -> int:
    """A whole number that is not negative."""
    if not text.isdecimal():
        raise ValueError("write a whole number, 0 or more")
    return int(text)


def duration(text: str) -> int:
    """Nanoseconds, 0 or more."""
    found = parse_duration(text)
    if found < 0:
        raise ValueError("duration cannot be negative")
    return found


def ratio(text: str) -> float | int:
    """A share between 0 and 1; a whole one stays an int, as JSON has it."""
    try:
        found = float(text)
    except ValueError:
        raise ValueError("write a number between 0 and 1") from None
    return int(found) if found.is_integer() else found


cpus = nano_cpus
memory = parse_size


def ports(items: Iterable[str]) -> list[dict[str, Any]]:
    """``8080:80/tcp``, ``8000-8002:80``, or ``published=8080,target=80,mode=host``."""
    found: list[dict[str, Any]] = []
    for item in items:
        found += [_long_port(item)] if "=" in item else _short_ports(item)
    return found


def _long_port(item: str) -> dict[str, Any]:
    port: dict[str, Any] = {}
    for field in csv_fields(item):
        name, equals, value = field.strip().partition("=")
        name = name.lower()
        if not equals:
            raise ValueError("invalid field: " + field)
        if name == "protocol":
            if value.lower() not in _PROTOCOLS:
                raise ValueError(f"invalid protocol value '{value}'")
            port["Protocol"] = value.lower()
        elif name == "mode":
            if value.lower() not in ("ingress", "host"):
                raise ValueError(f"invalid publish mode value ({value}): must be ingress or host")
            port["PublishMode"] = value.lower()
        elif name in ("target", "published"):
            if not value.isdecimal() or int(value) > 65535:
                raise ValueError(f"invalid {name} port ({value}): value must be an integer")
            port["TargetPort" if name == "target" else "PublishedPort"] = int(value)
        else:
            raise ValueError(f"invalid field key: {name}")
    if not port.get("TargetPort"):
        raise ValueError('missing mandatory field "target"')
    port.setdefault("Protocol", "tcp")
    port.setdefault("PublishMode", "ingress")
    return port


def _short_ports(item: str) -> list[dict[str, Any]]:
    rest, slash, protocol = item.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in _PROTOCOLS:
        raise ValueError(f"invalid protocol: {protocol}")
    outside, colon, inside = rest.rpartition(":")
    if ":" in outside:
        raise ValueError(f"{item}: hostip is not supported: a node listens on all its addresses")
    targets = port_range(inside)
    if not colon or not outside:
        return [_port(protocol, target, 0) for target in targets]
    published = port_range(outside)
    if len(targets) == 1:
        return [_port(protocol, targets[0], number) for number in published]
    if len(published) != len(targets):
        raise ValueError(f"invalid ranges specified for container and host Ports: {item}")
    return [_port(protocol, t, p) for t, p in zip(targets, published, strict=True)]


def _port(protocol: str, target: int, published: int) -> dict[str, Any]:
    port = {"Protocol": protocol, "TargetPort": target, "PublishMode": "ingress"}
    return {**port, "PublishedPort": published} if published else port


def network(item: str) -> dict[str, Any]:
    """``NAME`` or ``name=NAME,alias=A,driver-opt=K=V``; ``Target`` is still the name."""
    if "=" not in item:
        return {"Target": item}
    found: dict[str, Any] = {}
    for field in csv_fields(item):
        name, equals, value = field.partition("=")
        name = name.strip().lower()
        if not equals:
            raise ValueError(f"invalid field {field}")
        if name == "name":
            found["Target"] = value.strip()
        elif name == "alias":
            found.setdefault("Aliases", []).append(value.strip())
        elif name == "driver-opt":
            key, equals, text = value.partition("=")
            if not equals:
                raise ValueError(f"invalid key value pair format in driver options: {value}")
            found.setdefault("DriverOpts", {})[key.strip().lower()] = text.strip()
        else:
            raise ValueError(f"invalid field key {name}")
    if not found.get("Target"):
        raise ValueError("network name/id is not specified")
    return found


def file_grant(item: str, kind: str) -> dict[str, Any]:
    """``NAME`` or ``source=NAME,target=FILE,uid=1,gid=1,mode=0400`` of a secret or config.

    The answer's ``ID`` is missing: only the manager knows it. ``kind``: ``Secret``, ``Config``.
    """
    file: dict[str, Any] = {"Name": "", "UID": "0", "GID": "0", "Mode": 0o444}
    source = ""
    fields = csv_fields(item)
    if len(fields) == 1 and "=" not in fields[0]:
        source = file["Name"] = fields[0].strip()
        fields = []
    for field in fields:
        name, equals, value = field.partition("=")
        name = name.strip().lower()
        if not equals:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if name in ("source", "src"):
            source = value
        elif name == "target":
            file["Name"] = value
        elif name in ("uid", "gid"):
            file[name.upper()] = value
        elif name == "mode":
            try:
                # As C writes numbers: a leading 0 is octal.
                file["Mode"] = int(value, 8 if value.startswith("0") else 10)
            except ValueError:
                raise ValueError(f"invalid mode specified: {value}") from None
        else:
            raise ValueError(f"invalid field '{name}' in {kind.lower()} request")
    if not source:
        raise ValueError("source is required")
    file["Name"] = file["Name"] or source
    return {"File": file, f"{kind}Name": source}


def generic_resources(items: Iterable[str]) -> list[dict[str, Any]]:
    """``gpu=2``: counted resources, sorted by kind."""
    found = []
    for item in items:
        for part in item.split(","):
            kind, equals, value = part.strip().partition("=")
            if not equals or not kind or not value:
                raise ValueError(f'incorrect term {part}, missing "=" or malformed expression')
            if not value.isdecimal():
                raise ValueError(
                    f"invalid generic-resource request `{kind}={value}`, Named Generic Resources "
                    "is not supported for service create or update"
                )
            counted = {"Kind": kind, "Value": int(value)}
            found.append({"DiscreteResourceSpec": counted})
    return sorted(found, key=lambda item: str(item["DiscreteResourceSpec"]["Kind"]))


def preferences(items: Iterable[str]) -> list[dict[str, Any]]:
    """``spread=node.labels.zone``."""
    found = []
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError('placement preference must be of the format "<strategy>=<arg>"')
        if name != "spread":
            raise ValueError(f"unsupported placement preference {name} (only spread is supported)")
        found.append({"Spread": {"SpreadDescriptor": value}})
    return found


def hosts(items: Iterable[str]) -> list[str]:
    """``name:address`` as lines of /etc/hosts: ``address name``."""
    found = []
    for item in items:
        name, colon, address = item.partition(":")
        if not colon:
            name, colon, address = item.partition("=")
        if not colon or not name:
            raise ValueError(f'bad format for add-host: "{item}"')
        found.append(f"{address.removeprefix('[').removesuffix(']')} {name}")
    return found


def capabilities(add: Iterable[str], drop: Iterable[str]) -> tuple[list[str], list[str]]:
    """(added, dropped): full names, sorted; adding wins over dropping."""
    adds, drops = ({_capability(c) for c in names if c.strip()} for names in (add, drop))
    if "ALL" in adds:
        adds = {"ALL"}
    if "ALL" in drops:
        drops = {"ALL"}
    return sorted(adds), sorted(drops - adds)


def _capability(text: str) -> str:
    name = text.strip().upper()
    return name if name == "ALL" or name.startswith("CAP_") else f"CAP_{name}"


def credential(text: str) -> dict[str, str]:
    """``file://``, ``registry://`` or ``config://``."""
    for prefix, key in (("config://", "Config"), ("file://", "File"), ("registry://", "Registry")):
        if text.startswith(prefix):
            return {key: text.removeprefix(prefix)}
    if not text:
        return {}
    raise ValueError(
        'invalid credential spec: value must be prefixed with "config://", "file://", '
        'or "registry://"'
    )


def words(text: str) -> list[str]:
    """A command line as a shell splits it."""
    import shlex

    return shlex.split(text)


def labels(items: Sequence[str]) -> dict[str, str]:
    """``a=b``; a bare name has the value ""."""
    return key_values(items)
