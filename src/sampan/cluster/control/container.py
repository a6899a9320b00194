"""What a task's container may be asked to be."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sampan.cluster import templates
from sampan.cluster.errors import NotDone, Refused
from sampan.cluster.spec import (
    ConfigReference,
    ContainerSpec,
    DnsConfig,
    HealthConfig,
    Mount,
    SecretReference,
)
from sampan.engine.spec.validate_names import validate_extra_hosts, validate_resolver
from sampan.errors import InvalidArgument
from sampan.image.reference import parse

SHORTEST_NS = 1_000_000
"""Of a health check's times, other than zero ("as the image says")."""
_TYPES = ("bind", "volume", "tmpfs")
_UNKNOWN_TYPES = ("npipe", "cluster", "image")
_PROPAGATIONS = ("", "private", "rprivate", "shared", "rshared", "slave", "rslave")


def check_container(container: ContainerSpec) -> None:
    """Everything that can be said of a container's specification by itself.

    Raises:
        Refused, NotDone.
    """
    if not container.image:
        raise Refused("ContainerSpec: image reference must be provided")
    try:
        parse(container.image)
    except InvalidArgument as error:
        raise Refused(
            f'ContainerSpec: "{container.image}" is not a valid repository/tag'
        ) from error
    if container.stop_grace_period is not None and container.stop_grace_period < 0:
        raise Refused("ContainerSpec: stop-grace-period cannot be negative")
    if not -1000 <= container.oom_score_adj <= 1000:
        raise Refused("ContainerSpec: oom-score-adj must be between -1000 and 1000")
    _check_names(container)
    for ulimit in container.ulimits:
        if not ulimit.name or (ulimit.soft > ulimit.hard >= 0):
            raise Refused(
                f"ContainerSpec: ulimit {ulimit.name or '(no name)'}: soft limit {ulimit.soft} "
                f"must not be above hard limit {ulimit.hard}"
            )
    check_mounts(container.mounts)
    _check_templates(container)
    check_health(container.healthcheck)
    check_targets(container.secrets, container.configs)


def _check_templates(container: ContainerSpec) -> None:
    """Now, and not when every task of the service is rejected for it."""
    texts = [("hostname", container.hostname), *(("env", entry) for entry in container.env)]
    for mount in container.mounts:
        texts.append(("mounts", mount.source))
        volume = mount.volume_options
        if volume is not None:
            texts += [("mounts", text) for text in volume.labels.values()]
            options = volume.driver_config.options if volume.driver_config is not None else {}
            texts += [("mounts", text) for text in options.values()]
    for what, text in texts:
        try:
            templates.check(text)
        except templates.TemplateError as error:
            raise Refused(f"expanding {what} failed: {error}") from error


def _check_names(container: ContainerSpec) -> None:
    """What ends up in files of the container, whose lines have words."""
    dns = container.dns_config or DnsConfig()
    entries: list[str] = []
    for line in container.hosts:
        # Blanks and tabs alone: what else splits a text would be another line of the file.
        address, *names = [word for word in re.split("[ \t]", line) if word] or [""]
        if not names:
            raise Refused(f'ContainerSpec: invalid host "{line}": write ADDRESS NAME')
        entries += [f"{name}={address}" for name in names]
    try:
        validate_extra_hosts(tuple(entries))
        validate_resolver(dns.nameservers, dns.search, dns.options)
    except InvalidArgument as error:
        raise Refused(f"ContainerSpec: invalid host or resolver: {error}") from error
    if any(character in "\r\n" for character in container.hostname):
        # Otherwise it may be a template, with blanks of its own.
        raise Refused(f"ContainerSpec: invalid hostname: {container.hostname[:80]!r}: one line")


def check_mounts(mounts: Iterable[Mount]) -> None:
    """Raises: Refused, NotDone."""
    seen: set[str] = set()
    for mount in mounts:
        if mount.type in _UNKNOWN_TYPES:
            raise NotDone(f"ContainerSpec: mount type {mount.type} is not supported on this node")
        if mount.type not in _TYPES:
            raise Refused(f"ContainerSpec: invalid mount type: {mount.type!r}")
        if not mount.target:
            raise Refused("ContainerSpec: mount target must not be empty")
        if not mount.target.startswith("/"):
            raise Refused(
                f"ContainerSpec: invalid mount target, must be an absolute path: {mount.target}"
            )
        if mount.target in seen:
            raise Refused(f"ContainerSpec: duplicate mount point: {mount.target}")
        seen.add(mount.target)
        if mount.type == "bind":
            _check_bind(mount)
        if mount.type == "tmpfs" and mount.source:
            raise Refused("ContainerSpec: a tmpfs mount has no source")
        if mount.tmpfs_options is not None and mount.tmpfs_options.size_bytes < 0:
            raise Refused("ContainerSpec: the size of a tmpfs mount cannot be negative")


def _check_bind(mount: Mount) -> None:
    # A source may be a template, and is a path only once a task is on a node.
    if not mount.source.startswith(("/", "{{")):
        raise Refused(
            f"invalid bind mount source, must be an absolute path: {mount.source or '(empty)'}"
        )
    options = mount.bind_options
    if options is not None and options.propagation not in _PROPAGATIONS:
        raise Refused(f'ContainerSpec: invalid mount propagation: "{options.propagation}"')


def check_health(health: HealthConfig | None) -> None:
    """Raises: Refused."""
    if health is None:
        return
    for name, value in (
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ):
        if value and value < SHORTEST_NS:
            raise Refused(f"ContainerSpec: {name} in HealthConfig cannot be less than 1ms")
    if health.retries < 0:
        raise Refused("ContainerSpec: Retries in HealthConfig cannot be negative")
    if health.test and health.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise Refused(
            f"ContainerSpec: Test in HealthConfig begins with NONE, CMD or CMD-SHELL, "
            f"not {health.test[0]}"
        )


def check_targets(secrets: Iterable[SecretReference], configs: Iterable[ConfigReference]) -> None:
    """No two of them in one place.

    Raises:
        Refused.
    """
    taken: dict[str, str] = {}
    for secret in secrets:
        if secret.file is None or not secret.file.name:
            raise Refused("malformed file secret reference, no file target name provided")
        _take(taken, "secret", _below("/run/secrets", secret.file.name), secret.secret_name)
    taken.clear()
    for config in configs:
        if config.runtime is not None and config.file is None:
            continue
        if config.file is None or not config.file.name:
            raise Refused("malformed file config reference, no file target name provided")
        _take(taken, "config", _below("/", config.file.name), config.config_name)


def _below(directory: str, name: str) -> str:
    return name if name.startswith("/") else f"{directory.rstrip('/')}/{name}"


def _take(taken: dict[str, str], kind: str, target: str, name: str) -> None:
    if (other := taken.get(target)) is not None:
        raise Refused(
            f"{kind} references '{other}' and '{name}' have a conflicting target: "
            f"'{target.rpartition('/')[2]}'"
        )
    taken[target] = name
