"""Values that need more than a word to be read: nodes to ``values``. Raise ComposeFileError."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sampan.compose import units
from sampan.compose.errors import Where
from sampan.compose.file import dotenv
from sampan.compose.file.load import display
from sampan.compose.file.merge import is_path
from sampan.compose.file.node_reader import NodeReader
from sampan.compose.file.yaml_tree import Map, Scalar
from sampan.compose.model.table import Reading
from sampan.compose.model.values import (
    COMPLETED,
    HEALTHY,
    STARTED,
    Dependency,
    DeviceRequest,
    Grant,
    Mount,
    NetworkAttachment,
    Port,
    Throttle,
)

_RESTART = {"any": "always", "on-failure": "on-failure", "none": "no"}


def command(cur: NodeReader, _reading: Reading) -> tuple[str, ...] | None:
    """A command line, split as a shell would, or its words."""
    if not cur.is_scalar:
        return cur.texts()
    try:
        return units.split_command(cur.text())
    except ValueError as error:
        raise cur.fail(f"cannot be split into words: {error}") from None


def environment(cur: NodeReader, reading: Reading) -> dict[str, str]:
    """``env_file`` first, ``environment`` over it; a name alone is taken from outside."""
    found: dict[str, str] = {}
    for item in reading.owner["env_file"]:
        required = item.is_scalar or item["required"].boolean(True)
        raw = not item.is_scalar and item["format"].text() == "raw"
        text = _content(item, required)
        if text is None:
            continue
        name = display(_path(item))
        found.update(_raw(text) if raw else _known(dotenv.parse(text, name, reading.variables)))
    for key, value in cur.pairs().items():
        if value is None and key in reading.variables:
            found[key] = reading.variables[key]
        elif value is not None:
            found[key] = value
    return found


def labels(cur: NodeReader, reading: Reading) -> dict[str, str]:
    """``label_file`` first, ``labels`` over it."""
    found: dict[str, str] = {}
    for item in reading.owner["label_file"]:
        text = _content(item, True) or ""
        found.update(_known(dotenv.parse(text, display(_path(item)), reading.variables)))
    return found | cur.strings()


def _path(item: NodeReader) -> str:
    return item.text() if item.is_scalar else item["path"].text()


def _content(item: NodeReader, required: bool) -> str | None:
    path = _path(item)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        if not required and isinstance(error, FileNotFoundError):
            return None
        raise item.fail(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None


def _raw(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    return {key: value for key, _, value in (line.partition("=") for line in lines)}


def _known(values: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value is not None}


def build_args(cur: NodeReader, reading: Reading) -> dict[str, str | None]:
    """A name alone is taken from outside; None when it is not there either."""
    return {
        key: reading.variables.get(key) if value is None else value
        for key, value in cur.pairs().items()
    }


def ports(cur: NodeReader, _reading: Reading) -> tuple[Port, ...]:
    """Short and long forms, each port once."""
    found: dict[Port, None] = {}
    for item in cur:
        for port in _short_ports(item) if item.is_scalar else _long_port(item):
            found[port] = None
    return tuple(found)


def _short_ports(cur: NodeReader) -> list[Port]:
    ip, published, target, protocol = units.split_port(cur.text())
    try:
        targets = units.port_range(target)
        outside = units.port_range(published) if published else None
    except ValueError as error:
        raise cur.fail(str(error)) from None
    if outside is None:
        return [Port(number, "", ip, protocol) for number in targets]
    if len(targets) == 1:
        return [Port(targets[0], published, ip, protocol)]
    if len(outside) != len(targets):
        raise cur.fail(f'"{cur.text()}": the two ranges have different lengths')
    return [Port(t, str(p), ip, protocol) for t, p in zip(targets, outside, strict=True)]


def _long_port(cur: NodeReader) -> list[Port]:
    try:
        targets = units.port_range(cur["target"].text())
        if cur["published"]:
            units.port_range(cur["published"].text())
    except ValueError as error:
        raise cur.fail(str(error)) from None
    return [
        Port(
            targets[0],
            cur["published"].text(),
            cur["host_ip"].text(),
            cur["protocol"].text("tcp"),
            cur["mode"].text("ingress"),
            cur["name"].text(),
            cur["app_protocol"].text(),
        )
    ]


def expose(cur: NodeReader, _reading: Reading) -> tuple[str, ...]:
    """``PORT/PROTOCOL`` each; a range stands for its ports."""
    found: dict[str, None] = {}
    for item in cur:
        text, _, protocol = item.text().partition("/")
        try:
            found |= {f"{port}/{protocol or 'tcp'}": None for port in units.port_range(text)}
        except ValueError as error:
            raise item.fail(str(error)) from None
    return tuple(found)


def mounts(cur: NodeReader, _reading: Reading) -> tuple[Mount, ...]:
    """Short and long forms; a later file's mount takes the place of an earlier one."""
    found: dict[str, Mount] = {}
    for item in cur:
        mount = _short_mount(item) if item.is_scalar else _long_mount(item)
        found.pop(mount.target, None)
        found[mount.target] = mount
    return tuple(found.values())


def _short_mount(cur: NodeReader) -> Mount:
    parts = cur.text().split(":")
    if len(parts) > 3 or not all(parts):
        raise cur.fail(f'"{cur.text()}" is not SOURCE:TARGET[:MODE]')
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    if not target.startswith("/"):
        raise cur.fail(f'the target "{target}" must be an absolute path')
    words = parts[2].split(",") if len(parts) == 3 else []
    options = tuple(word for word in words if word not in ("ro", "rw"))
    kind = "bind" if is_path(source) else "volume"
    return Mount(kind, target.rstrip("/") or "/", source, "ro" in words, options=options)


def _long_mount(cur: NodeReader) -> Mount:
    kind = cur["type"].text()
    if kind not in ("bind", "volume", "tmpfs", "image"):
        raise cur["type"].fail(f'"{kind}" is not one of bind, volume, tmpfs and image')
    if not cur["target"].text().startswith("/"):
        raise cur.fail("needs a target that is an absolute path")
    if kind == "bind" and not cur["source"]:
        raise cur.fail("a bind mount needs a source")
    options = [cur["bind"][key].text() for key in ("propagation", "selinux") if cur["bind"][key]]
    if cur["volume"]["nocopy"].boolean():
        options.append("nocopy")
    return Mount(
        kind,
        cur["target"].text().rstrip("/") or "/",
        cur["source"].text(),
        cur["read_only"].boolean(),
        cur["bind"]["create_host_path"].boolean(True) if cur["bind"] else True,
        tuple(options),
        cur["volume"]["subpath"].text() or cur["image"]["subpath"].text(),
        cur["tmpfs"]["size"].size(),
        cur["tmpfs"]["mode"].integer(),
        cur["volume"]["labels"].strings(),
    )


def attachments(section: Callable[[NodeReader, Mapping[str, str]], dict[str, Any]]) -> Any:
    """A reader of ``networks``: the default network stands for none that are named."""

    def read(cur: NodeReader, reading: Reading) -> tuple[NetworkAttachment, ...]:
        if reading.owner["network_mode"]:
            return ()
        if not cur or (isinstance(cur.node, Map) and not cur.node.entries):
            return (NetworkAttachment("default"),)
        found = [
            NetworkAttachment(key, **section(item, reading.variables)) for key, item in cur.items()
        ]
        return tuple(sorted(found, key=lambda a: -a.priority))

    return read


def dependencies(cur: NodeReader, _reading: Reading) -> tuple[Dependency, ...]:
    """What must be there first, and in which condition."""
    found = []
    for name, item in cur.items():
        condition = item["condition"].text(STARTED)
        if condition not in (STARTED, HEALTHY, COMPLETED):
            raise item["condition"].fail(
                f'"{condition}" is not one of {STARTED}, {HEALTHY} and {COMPLETED}'
            )
        required, restart_ = item["required"].boolean(True), item["restart"].boolean()
        found.append(Dependency(name, condition, required, restart_))
    return tuple(found)


def health_test(cur: NodeReader, reading: Reading) -> tuple[str, ...]:
    """A shell's line, or the words of a command behind CMD; NONE when the check is disabled."""
    if reading.owner["disable"].boolean():
        return ("NONE",)
    test = cur.texts()
    if cur.is_scalar:
        return ("CMD-SHELL", cur.text())
    if test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise cur.fail('the list must begin with "NONE", "CMD" or "CMD-SHELL"')
    return test


def restart(cur: NodeReader, reading: Reading) -> str:
    """``restart``, else what ``deploy.restart_policy`` means on one host."""
    if cur:
        word = cur.text()
        name, _, count = word.partition(":")
        if name not in ("no", "always", "on-failure", "unless-stopped") or (
            count and not (name == "on-failure" and count.isdecimal())
        ):
            raise cur.fail(f'"{word}" is not one of no, always, on-failure[:N] and unless-stopped')
        return word
    policy = reading.owner.at("deploy.restart_policy")
    if not policy:
        return ""
    word = policy["condition"].text("any")
    if word not in _RESTART:
        raise policy["condition"].fail(f'"{word}" is not one of {", ".join(_RESTART)}')
    if word == "on-failure" and policy["max_attempts"]:
        return f"on-failure:{policy['max_attempts'].integer()}"
    return _RESTART[word]


def count(cur: NodeReader, _reading: Reading) -> int:
    """A number of replicas."""
    number = cur.integer()
    if number < 0:
        raise cur.fail("cannot be negative")
    return number


def grants(cur: NodeReader, _reading: Reading) -> tuple[Grant, ...]:
    """Secrets or configs, by name or in the long form; a later file's takes an earlier's place."""
    found: dict[str, Grant] = {}
    for item in cur:
        if item.is_scalar:
            found[item.text()] = Grant(item.text())
            continue
        source, target, uid, gid = (item[key].text() for key in ("source", "target", "uid", "gid"))
        mode = file_mode(item["mode"]) if item["mode"] else None
        found[target or source] = Grant(source, target, uid, gid, mode)
    return tuple(found.values())


def file_mode(cur: NodeReader) -> int:
    """``0440`` is octal, as in YAML 1.1: that is what everyone means here."""
    text = cur.text()
    if text.startswith("0") and text.lstrip("0o").isdecimal():
        return int(text.removeprefix("0o"), 8)
    return cur.integer()


def ulimits(cur: NodeReader, _reading: Reading) -> dict[str, tuple[int, int]]:
    """Name -> (soft, hard)."""
    found = {}
    for name, item in cur.items():
        if item.is_scalar:
            found[name] = (item.integer(), item.integer())
        else:
            hard = item["hard"].integer(item["soft"].integer())
            found[name] = (item["soft"].integer(hard), hard)
    return found


def hosts(cur: NodeReader, _reading: Reading) -> tuple[str, ...]:
    """``NAME:ADDRESS`` each; the list form may also use ``=``."""
    found = [text.replace("=", ":", 1) if "=" in text else text for text in cur.texts()]
    for name, item in cur.items():
        found += [f"{name}:{address}" for address in item.texts()]
    return tuple(found)


def devices(cur: NodeReader, _reading: Reading) -> tuple[str, ...]:
    """``SOURCE[:TARGET[:RIGHTS]]`` each."""
    return tuple(_device(item) for item in cur)


def _device(cur: NodeReader) -> str:
    if cur.is_scalar:
        return cur.text()
    source = cur["source"].text()
    return f"{source}:{cur['target'].text(source)}:{cur['permissions'].text('rwm')}"


def device_requests(cur: NodeReader, _reading: Reading) -> tuple[DeviceRequest, ...]:
    """Devices that the engine picks; ``all`` stands for every GPU."""
    if cur.is_scalar:
        if cur.text() != "all":
            raise cur.fail(f'"{cur.text()}" is neither "all" nor a list')
        return (DeviceRequest(amount=-1, capabilities=("gpu",)),)
    found = []
    for item in cur:
        said = item["count"]
        if said and item["device_ids"]:
            raise item.fail("count and device_ids exclude each other: choose one")
        amount = -1 if said.text() == "all" else said.integer() if said else None
        ids = item["device_ids"].texts()
        found.append(
            DeviceRequest(
                driver=item["driver"].text(),
                amount=-1 if amount is None and not ids else amount,
                device_ids=ids,
                capabilities=item["capabilities"].texts() or ("gpu",),
                options=item["options"].strings(),
            )
        )
    return tuple(found)


def throttles(amount: str) -> Callable[[NodeReader, Reading], tuple[Throttle, ...]]:
    """A reader of limits by device; ``amount`` is the key of the number."""

    def read(cur: NodeReader, _reading: Reading) -> tuple[Throttle, ...]:
        return tuple(Throttle(item["path"].text(), item[amount].size()) for item in cur)

    return read


def spread(cur: NodeReader, _reading: Reading) -> tuple[str, ...]:
    """The labels that replicas are spread over."""
    return tuple(item["spread"].text() for item in cur)


def generic_resources(cur: NodeReader, _reading: Reading) -> tuple[tuple[str, int], ...]:
    """(kind, how many) each."""
    found = []
    for item in cur:
        counted = item["discrete_resource_spec"]
        if not counted["kind"]:
            raise item.fail("needs discrete_resource_spec with kind and value")
        found.append((counted["kind"].text(), counted["value"].integer()))
    return tuple(found)


def external(cur: NodeReader, _reading: Reading) -> bool:
    """``true``, or the old form with a name."""
    return cur.boolean() if cur.is_scalar else bool(cur)


def argument_ports(texts: Iterable[str]) -> tuple[Port, ...]:
    """Ports of a command line, in the short form."""
    return tuple(port for text in texts for port in _short_ports(_argument(text)))


def argument_mount(text: str) -> Mount:
    """A mount of a command line, in the short form."""
    source, colon, rest = text.partition(":")
    if colon and is_path(source):
        text = f"{os.path.abspath(os.path.expanduser(source))}:{rest}"
    return _short_mount(_argument(text))


def _argument(text: str) -> NodeReader:
    place = Where("command line", 0)
    return NodeReader(Scalar(place, text), text, place)
