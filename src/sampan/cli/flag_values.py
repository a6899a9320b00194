"""Values of flags with a grammar of their own: KEY=VALUE lists and files, ports, mounts, limits.

Pure but for the files that the user names. Every function raises ValueError with a sentence.
"""

from __future__ import annotations

import os

from sampan.cli.units import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any


_RECURSION = {
    "disabled": "NonRecursive",
    "writable": "ReadOnlyNonRecursive",
    "readonly": "ReadOnlyForceRecursive",
}


def key_values(items: Iterable[str]) -> dict[str, str]:
    """``a=b`` pairs; a bare name has the value ""."""
    pairs = (item.partition("=") for item in items)
    return {name: value for name, _, value in pairs}


def environment(
    files: Sequence[str], items: Sequence[str], environ: Mapping[str, str]
) -> list[str]:
    """Env files first, then ``-e``; a bare NAME takes the caller's value.

    A bare NAME that the caller does not have stays bare with ``-e`` (it unsets the image's value).
    """
    found = [line for path in files for line in env_file(path, environ)]
    for item in items:
        if not item or item.startswith("="):
            raise ValueError(f"invalid environment variable: {item}")
        inherit = "=" not in item and item in environ
        found.append(f"{item}={environ[item]}" if inherit else item)
    return found


def env_file(path: str, environ: Mapping[str, str]) -> list[str]:
    """The variables of a ``--env-file``: no quoting, no expansion."""
    found = []
    for number, raw in enumerate(_lines(path), 1):
        line = raw.lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, _ = line.partition("=")
        if not name or any(char.isspace() for char in name.rstrip()) or name != name.rstrip():
            raise ValueError(f"{path}:{number}: variable {name!r} contains whitespaces")
        if equals:
            found.append(line)
        elif name in environ:
            found.append(f"{name}={environ[name]}")
    return found


def labels(files: Sequence[str], items: Sequence[str]) -> dict[str, str]:
    """Label files first, then ``--label``."""
    lines = [line.strip() for path in files for line in _lines(path)]
    return key_values([line for line in lines if line and not line.startswith("#")] + list(items))


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read().splitlines()
    except OSError as error:
        raise ValueError(f"open {path}: {error.strerror}") from error


def port_bindings(items: Iterable[str]) -> dict[str, list[dict[str, str]]]:
    """``[[IP:]HOST[-END]:]PORT[-END][/PROTO]`` as the API's PortBindings."""
    found: dict[str, list[dict[str, str]]] = {}
    for item in items:
        rest, _, protocol = item.partition("/")
        protocol = protocol.lower() or "tcp"
        if protocol not in ("tcp", "udp", "sctp"):
            raise ValueError(f"invalid proto: {protocol}")
        address = ""
        if rest.startswith("["):
            address, _, rest = rest[1:].partition("]")
            rest = rest.lstrip(":")
        parts = rest.split(":")
        if len(parts) == 3:
            address, *parts = parts
        if not parts[-1] or len(parts) > 2:
            raise ValueError(f"invalid publish value {item!r}: write it [[IP:]HOSTPORT:]PORT")
        inside = port_range(parts[-1])
        outside = port_range(parts[0]) if len(parts) == 2 and parts[0] else None
        for offset, port in enumerate(inside):
            host = ""
            if outside is not None and len(outside) == len(inside):
                host = str(outside[offset])
            elif outside is not None and len(inside) == 1:
                host = f"{outside[0]}-{outside[-1]}"  # the daemon takes a free one of these
            elif outside is not None:
                raise ValueError(f"invalid ranges specified for container and host Ports: {item}")
            binding = {"HostIp": address, "HostPort": host}
            found.setdefault(f"{port}/{protocol}", []).append(binding)
    return found


def exposed(items: Iterable[str]) -> list[str]:
    """``--expose 80-82/udp`` one by one."""
    found = []
    for item in items:
        ports, _, protocol = item.partition("/")
        found += [f"{port}/{protocol or 'tcp'}" for port in port_range(ports)]
    return found


def port_range(text: str) -> range:
    """``80`` or ``80-82``."""
    first, _, last = text.partition("-")
    last = last or first
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) < 65536):
        raise ValueError(f"invalid containerPort or hostPort: {text}")
    return range(int(first), int(last) + 1)


def volume(item: str) -> tuple[str | None, str]:
    """``-v``: (bind for HostConfig.Binds or None, container path of an anonymous volume or "")."""
    source, colon, rest = item.partition(":")
    if not colon:
        if not item.startswith("/"):
            raise ValueError(f"invalid volume specification: {item!r}: write SOURCE:/PATH or /PATH")
        return None, item
    if not source or not rest.startswith("/"):
        raise ValueError(
            f"invalid volume specification: {item!r}: the path inside must be absolute"
        )
    if source.startswith((".", "~")):
        source = os.path.abspath(os.path.expanduser(source))
    return f"{source}:{rest}", ""


def mount(item: str) -> dict[str, Any]:
    """``--mount type=bind,source=/a,target=/b,readonly`` as the API's Mount."""
    found: dict[str, Any] = {"Type": "volume"}
    options: dict[str, dict[str, Any]] = {}
    for field in csv_fields(item):
        name, equals, value = field.partition("=")
        name = name.strip().lower()
        if name == "type":
            found["Type"] = value.lower()
        elif name in ("source", "src"):
            found["Source"] = os.path.abspath(value) if value.startswith(".") else value
        elif name in ("target", "dst", "destination"):
            found["Target"] = value
        elif name in ("readonly", "ro"):
            found["ReadOnly"] = not equals or _truth(value)
        elif name == "consistency":
            found["Consistency"] = value
        elif name == "bind-propagation":
            options.setdefault("BindOptions", {})["Propagation"] = value
        elif name == "bind-create-src":
            options.setdefault("BindOptions", {})["CreateMountpoint"] = not equals or _truth(value)
        elif name == "bind-recursive":
            if value not in ("enabled", "disabled", "writable", "readonly"):
                raise ValueError(f"invalid value for bind-recursive: {value}")
            if value in _RECURSION:
                options.setdefault("BindOptions", {})[_RECURSION[value]] = True
        elif name == "volume-nocopy":
            options.setdefault("VolumeOptions", {})["NoCopy"] = not equals or _truth(value)
        elif name == "volume-subpath":
            options.setdefault("VolumeOptions", {})["Subpath"] = value
        elif name == "volume-label":
            known = options.setdefault("VolumeOptions", {}).setdefault("Labels", {})
            known.update(key_values([value]))
        elif name in ("volume-driver", "volume-opt"):
            driver = options.setdefault("VolumeOptions", {}).setdefault("DriverConfig", {})
            if name == "volume-driver":
                driver["Name"] = value
            else:
                driver.setdefault("Options", {}).update(key_values([value]))
        elif name == "tmpfs-size":
            options.setdefault("TmpfsOptions", {})["SizeBytes"] = parse_size(value)
        elif name == "tmpfs-mode":
            options.setdefault("TmpfsOptions", {})["Mode"] = int(value, 8)
        else:
            raise ValueError(f"unexpected key '{name}' in '{field}'")
    if "Target" not in found:
        raise ValueError(f"invalid argument {item!r} for --mount: target is required")
    return {**found, **options}


def csv_fields(item: str) -> list[str]:
    """The fields between commas; quotes as in CSV."""
    if '"' not in item:
        return item.split(",")
    import csv

    return next(csv.reader([item]))


def _truth(text: str) -> bool:
    if text.lower() not in ("1", "t", "true", "0", "f", "false"):
        raise ValueError(f"invalid value {text!r}: write true or false")
    return text.lower() in ("1", "t", "true")


def ulimit(item: str) -> dict[str, object]:
    """``nofile=1024:2048``."""
    name, equals, value = item.partition("=")
    soft, _, hard = value.partition(":")
    try:
        if not equals:
            raise ValueError
        return {"Name": name, "Soft": int(soft), "Hard": int(hard or soft)}
    except ValueError:
        raise ValueError(f"invalid ulimit argument: {item}: write NAME=SOFT[:HARD]") from None


def device_rate(item: str) -> dict[str, object]:
    """``/dev/sda:1mb`` as the API's ThrottleDevice."""
    path, colon, rate = item.rpartition(":")
    if not colon or not path.startswith("/dev/"):
        raise ValueError(f"bad format: {item!r}: write DEVICE-PATH:RATE, as in /dev/sda:1mb")
    return {"Path": path, "Rate": parse_size(rate)}


def device(item: str) -> dict[str, str]:
    """``/dev/a[:/dev/b][:rwm]``."""
    outside, *rest = item.split(":")
    mode = "rwm"
    if rest and set(rest[-1]) <= set("rwm") and rest[-1]:
        mode = rest.pop()
    inside = rest[0] if rest else outside
    return {"PathOnHost": outside, "PathInContainer": inside, "CgroupPermissions": mode}


def restart_policy(text: str) -> dict[str, object]:
    """``on-failure:3``."""
    name, colon, count = text.partition(":")
    if name not in ("", "no", "always", "unless-stopped", "on-failure"):
        raise ValueError(
            f"invalid restart policy {text!r}: use no, always, unless-stopped or on-failure[:N]"
        )
    if colon and not count.isdecimal():
        raise ValueError("invalid restart policy format: maximum retry count must be an integer")
    return {"Name": name, "MaximumRetryCount": int(count or 0)}


def nano_cpus(text: str) -> int:
    """``1.5`` -> 1500000000."""
    from decimal import Decimal, InvalidOperation

    try:
        return int(Decimal(text) * 10**9)
    except InvalidOperation:
        raise ValueError(f"failed to parse {text!r} as a number of CPUs") from None
