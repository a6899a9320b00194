"""Device nodes, and the rules that say which ones a container may touch."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sampan.errors import InvalidArgument
from sampan.store.records import Device, HostConfig

# (type, major, minor, access). Any node may be made (mknod), only these may be opened.
_DEFAULT_RULES: tuple[tuple[str, int | None, int | None, str], ...] = (
    ("c", None, None, "m"),
    ("b", None, None, "m"),
    ("c", 1, 3, "rwm"),  # null
    ("c", 1, 5, "rwm"),  # zero
    ("c", 1, 7, "rwm"),  # full
    ("c", 1, 8, "rwm"),  # random
    ("c", 1, 9, "rwm"),  # urandom
    ("c", 5, 0, "rwm"),  # tty
    ("c", 5, 1, "rwm"),  # console
    ("c", 5, 2, "rwm"),  # ptmx
    ("c", 136, None, "rwm"),  # pts/*
)
DEVICE_RULE = re.compile(r"([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})")
_SKIP = frozenset(("pts", "shm", "fd", "mqueue", "console", ".lxc", ".lxd-mounts", ".udev"))


def devices(host: HostConfig) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(nodes to make, rules of the device cgroup).

    Raises:
        InvalidArgument: a device that does not exist, a rule that cannot be read.
    """
    wanted = host.resources.devices
    if host.privileged:
        nodes = [_node(str(path), str(path), path.lstat()) for path in _all_of(Path("/dev"))]
        return nodes, [{"allow": True, "access": "rwm"}]
    nodes = []
    rules: list[dict[str, Any]] = [{"allow": False, "access": "rwm"}]
    rules += [_rule(*rule) for rule in _DEFAULT_RULES]
    for device in wanted:
        for path, target, status in _expand(device):
            node = _node(path, target, status)
            nodes.append(node)
            rules.append(_rule(node["type"], node["major"], node["minor"], device.permissions))
    for text in host.resources.device_cgroup_rules:
        match = DEVICE_RULE.fullmatch(text)
        if match is None:
            raise InvalidArgument(f"invalid device cgroup rule format: '{text}'")
        kind, major, minor, access = match.groups()
        rules.append(_rule(kind, _number(major), _number(minor), access))
    return nodes, rules


def _expand(device: Device) -> Iterator[tuple[str, str, os.stat_result]]:
    """A device, or every device of a directory (``--device /dev/snd``)."""
    source = os.path.realpath(device.path_on_host)
    target = device.path_in_container or device.path_on_host
    try:
        status = os.stat(source)
    except OSError as error:
        raise InvalidArgument(
            f'error gathering device information while adding custom device "'
            f'{device.path_on_host}": {error.strerror or error}'
        ) from None
    if _is_device(status.st_mode):
        yield source, target, status
        return
    if not stat.S_ISDIR(status.st_mode):
        raise InvalidArgument(
            "error gathering device information while adding custom device "
            f'"{device.path_on_host}": not a device node'
        )
    for path in _all_of(Path(source)):
        yield str(path), target + str(path)[len(source) :], path.lstat()


def _all_of(directory: Path) -> Iterator[Path]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name in _SKIP:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _all_of(Path(entry.path))
            elif _is_device(entry.stat(follow_symlinks=False).st_mode):
                yield Path(entry.path)


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _node(source: str, target: str, status: os.stat_result) -> dict[str, Any]:
    return {
        "path": target,
        "type": "b" if stat.S_ISBLK(status.st_mode) else "c",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _rule(kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    rule: dict[str, Any] = {"allow": True, "type": kind, "access": access}
    if major is not None:
        rule["major"] = major
    if minor is not None:
        rule["minor"] = minor
    return rule


def _number(text: str) -> int | None:
    return None if text == "*" else int(text)
