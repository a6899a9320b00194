"""The API's spellings of a mount (``Binds``, ``Mounts``, ``Tmpfs``, ``Volumes``) to one record."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from msgspec import UnsetType

from sampan.api.types import hostconfig as wire
from sampan.errors import InvalidArgument, Unsupported
from sampan.store.records import Mount

PROPAGATION = frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave"))
_MODES = (
    frozenset(("ro", "rw", "z", "Z", "nocopy", "delegated", "cached", "consistent")) | PROPAGATION
)
_VOLUME_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


def all_mounts(
    host: wire.HostConfig, volumes: Iterable[str], *, volume_driver: str
) -> tuple[Mount, ...]:
    """Every mount that the client asked for, one a target.

    Raises:
        InvalidArgument: malformed, or two for one target.
    """
    found: dict[str, Mount] = {}

    def add(mount: Mount) -> None:
        if mount.target in found:
            raise InvalidArgument(f"Duplicate mount point: {mount.target}")
        found[mount.target] = mount

    for written in host.binds or ():
        add(parse_bind(written, volume_driver))
    mounts = host.mounts
    for asked in () if isinstance(mounts, UnsetType) else mounts or ():
        add(_from_mount(asked))
    tmpfs = host.tmpfs
    if not isinstance(tmpfs, UnsetType) and tmpfs:
        for target, options in tmpfs.items():
            add(_from_tmpfs(target, options))
    for target in volumes:
        clean = _target(target, target)
        if clean not in found:
            found[clean] = Mount(
                type="volume", target=clean, volume_driver=volume_driver, origin="volumes"
            )
    return tuple(sorted(found.values(), key=lambda mount: mount.target.count("/")))


def parse_bind(written: str, volume_driver: str = "") -> Mount:
    """``-v``: ``SOURCE:TARGET[:MODE]`` or ``TARGET``."""
    parts = written.split(":")
    if not 1 <= len(parts) <= 3 or not all(parts):
        raise InvalidArgument(f"invalid volume specification: '{written}'")
    mode = parts[2] if len(parts) == 3 else ""
    options = [option for option in mode.split(",") if option]
    for option in options:
        if option not in _MODES:
            raise InvalidArgument(f"invalid mode: {mode}")
    propagation = next((option for option in options if option in PROPAGATION), "")
    target = _target(parts[-1] if len(parts) < 3 else parts[1], written)
    source = parts[0] if len(parts) > 1 else ""
    read_only = "ro" in options
    if source.startswith("/"):
        return Mount(
            type="bind",
            source=posixpath.normpath(source),
            target=target,
            read_only=read_only,
            create_source=True,
            mode=mode,
            propagation=propagation,
            origin="binds",
        )
    if source:
        volume_name(source)
    return Mount(
        type="volume",
        source=source,
        target=target,
        read_only=read_only,
        no_copy="nocopy" in options,
        mode=mode,
        volume_driver=volume_driver,
        origin="binds",
    )


def volume_name(name: str) -> str:
    """Check a volume's name."""
    if len(name) < 2 or not name[0].isalnum() or not _VOLUME_NAME.issuperset(name):
        raise InvalidArgument(
            f'create {name}: "{name}" includes invalid characters for a local volume name, only '
            '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
            "use absolute path"
        )
    return name


def _target(target: str, written: str) -> str:
    if not target.startswith("/"):
        raise InvalidArgument(
            f"invalid volume specification: '{written}': invalid mount path: '{target}' mount "
            "path must be absolute"
        )
    clean = posixpath.normpath(target)
    clean = "/" + clean.lstrip("/")
    if clean == "/":
        raise InvalidArgument(
            f"invalid volume specification: '{written}': destination can't be '/'"
        )
    return clean


def _from_mount(asked: wire.Mount) -> Mount:
    source = asked.source or ""
    if not asked.target:
        raise InvalidArgument(
            f'invalid mount config for type "{asked.type}": field Target must not be empty'
        )
    target = _target(asked.target, asked.target)
    match asked.type:
        case "bind":
            return _bind_mount(asked, source, target)
        case "volume":
            return _volume_mount(asked, source, target)
        case "tmpfs":
            if source:
                raise InvalidArgument(
                    'invalid mount config for type "tmpfs": field Source must not be specified'
                )
            options = asked.tmpfs_options or wire.TmpfsOptions()
            return Mount(
                type="tmpfs",
                target=target,
                read_only=bool(asked.read_only),
                tmpfs_bytes=options.size_bytes or 0,
                tmpfs_mode=options.mode or 0,
                tmpfs_options=",".join("=".join(pair) for pair in options.options or ()),
                origin="mounts",
            )
        case "image" | "cluster" | "npipe":
            raise Unsupported(f"mounts of type {asked.type} are not supported")
    raise InvalidArgument(f'invalid mount config for type "{asked.type}": mount type unknown')


def _bind_mount(asked: wire.Mount, source: str, target: str) -> Mount:
    if not source.startswith("/"):
        raise InvalidArgument(
            f"invalid mount config for type \"bind\": invalid mount path: '{source}' mount path "
            "must be absolute"
            if source
            else 'invalid mount config for type "bind": field Source must not be empty'
        )
    options = asked.bind_options or wire.BindOptions()
    propagation = options.propagation or ""
    if propagation and propagation not in PROPAGATION:
        raise InvalidArgument(
            f'invalid mount config for type "bind": invalid propagation mode: {propagation}'
        )
    return Mount(
        type="bind",
        source=posixpath.normpath(source),
        target=target,
        read_only=bool(asked.read_only),
        create_source=bool(options.create_mountpoint),
        propagation=propagation,
        non_recursive=bool(options.non_recursive),
        read_only_non_recursive=bool(options.read_only_non_recursive),
        read_only_force_recursive=bool(options.read_only_force_recursive),
        origin="mounts",
    )


def _volume_mount(asked: wire.Mount, source: str, target: str) -> Mount:
    options = asked.volume_options or wire.VolumeOptions()
    driver = options.driver_config or wire.DriverConfig()
    if source:
        volume_name(source)
    subpath = options.subpath or ""
    if subpath and (subpath.startswith("/") or ".." in subpath.split("/")):
        raise InvalidArgument(
            'invalid mount config for type "volume": subpath must be a relative path within the '
            "volume"
        )
    return Mount(
        type="volume",
        source=source,
        target=target,
        read_only=bool(asked.read_only),
        no_copy=bool(options.no_copy),
        subpath=subpath,
        volume_driver=driver.name or "",
        volume_options=dict(driver.options or {}),
        volume_labels=dict(options.labels or {}),
        origin="mounts",
    )


def _from_tmpfs(target: str, options: str) -> Mount:
    return Mount(
        type="tmpfs",
        target=_target(target, target),
        tmpfs_options=options,
        read_only="ro" in options.split(","),
        origin="tmpfs",
    )


def mounts_out(mounts: Iterable[Mount]) -> list[wire.Mount]:
    """``HostConfig.Mounts`` of inspect: those that were asked for in this spelling."""
    return [_mount_out(mount) for mount in mounts if mount.origin == "mounts"]


def _mount_out(mount: Mount) -> wire.Mount:
    out = wire.Mount(
        type=mount.type,
        source=mount.source or None,
        target=mount.target,
        read_only=mount.read_only or None,
    )
    if mount.type == "bind":
        options = wire.BindOptions(
            propagation=mount.propagation or None,
            non_recursive=mount.non_recursive or None,
            create_mountpoint=mount.create_source or None,
            read_only_non_recursive=mount.read_only_non_recursive or None,
            read_only_force_recursive=mount.read_only_force_recursive or None,
        )
        if options != wire.BindOptions():
            out.bind_options = options
    elif mount.type == "volume":
        driver: wire.DriverConfig | None = None
        if mount.volume_driver or mount.volume_options:
            driver = wire.DriverConfig(
                name=mount.volume_driver or None, options=_or_none(mount.volume_options)
            )
        if driver or mount.no_copy or mount.volume_labels or mount.subpath:
            out.volume_options = wire.VolumeOptions(
                no_copy=mount.no_copy or None,
                labels=_or_none(mount.volume_labels),
                driver_config=driver,
                subpath=mount.subpath or None,
            )
    elif mount.type == "tmpfs" and (mount.tmpfs_bytes or mount.tmpfs_mode):
        out.tmpfs_options = wire.TmpfsOptions(
            size_bytes=mount.tmpfs_bytes or None, mode=mount.tmpfs_mode or None
        )
    return out


def _or_none(mapping: Mapping[str, str]) -> dict[str, str] | None:
    return dict(mapping) if mapping else None
