"""What a container inherits from its image, and what it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from sampan.config import DaemonConfig
from sampan.engine.contract import CreateRequest
from sampan.errors import InvalidArgument
from sampan.image.contract import ImageConfig
from sampan.store.records import ContainerSpec, Healthcheck, HostConfig, Mount

DEFAULT_INTERVAL_NS = 30_000_000_000
DEFAULT_RETRIES = 3
_NO_NEW = "no-new-privileges"


def merged(request: CreateRequest, image: ImageConfig) -> ContainerSpec:
    """The request's specification with the image's defaults filled in.

    Raises:
        InvalidArgument: there is no command to run, or the health check makes no sense.
    """
    spec = request.spec
    entrypoint, cmd = _command(request, image)
    args = (*(entrypoint or ()), *(cmd or ()))
    if not args:
        raise InvalidArgument("no command specified")
    mounted = {mount.target for mount in spec.mounts}
    volumes = tuple(dict.fromkeys((*spec.volumes, *image.volumes)))
    return msgspec.structs.replace(
        spec,
        args=args,
        entrypoint=entrypoint,
        cmd=cmd,
        env=merged_env(image.env, spec.env),
        user=spec.user or image.user,
        working_dir=spec.working_dir or image.working_dir,
        labels={**image.labels, **spec.labels},
        exposed_ports=tuple(
            dict.fromkeys((*image.exposed_ports, *spec.exposed_ports, *spec.host.port_bindings))
        ),
        volumes=volumes,
        stop_signal=spec.stop_signal or image.stop_signal,
        shell=spec.shell or image.shell,
        on_build=spec.on_build,
        healthcheck=_healthcheck(spec.healthcheck, image.healthcheck),
        mounts=(
            *spec.mounts,
            *(
                Mount(
                    type="volume",
                    target=path,
                    volume_driver=spec.host.volume_driver,
                    origin="volumes" if path in spec.volumes else "image",
                )
                for path in (p.rstrip("/") or "/" for p in volumes)
                if path not in mounted
            ),
        ),
    )


def with_daemons_defaults(host: HostConfig, config: DaemonConfig) -> HostConfig:
    """What the daemon's configuration says where the container says nothing."""
    security = host.security_opt
    if config.no_new_privileges and not any(one.startswith(_NO_NEW) for one in security):
        security = (*security, _NO_NEW)
    return msgspec.structs.replace(
        host,
        runtime=host.runtime or config.default_runtime,
        shm_size=host.shm_size or config.default_shm_bytes,
        init=config.default_init or None if host.init is None else host.init,
        security_opt=security,
        cgroupns_mode=host.cgroupns_mode
        or ("host" if config.default_cgroupns_mode == "host" else ""),
    )


def _command(
    request: CreateRequest, image: ImageConfig
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """An entrypoint of one's own throws away the image's command, for that was written for the
    image's entrypoint; a command of one's own keeps the image's entrypoint."""
    spec = request.spec
    if request.entrypoint_reset:
        return None, spec.cmd
    if spec.entrypoint:
        return spec.entrypoint, spec.cmd
    return image.entrypoint or None, spec.cmd or image.cmd or None


def merged_env(base: Sequence[str], over: Sequence[str]) -> tuple[str, ...]:
    """Each name once, at its first place, with its last value. A name without "=" stands for a
    variable that is not to be there; ``process_env`` takes it away."""
    found = {entry.partition("=")[0]: entry for entry in base}
    found |= {entry.partition("=")[0]: entry for entry in over}
    return tuple(found.values())


def without_bare_names(env: Sequence[str]) -> tuple[str, ...]:
    """What a process gets of a list that may have names without "="."""
    return tuple(entry for entry in env if "=" in entry)


def _healthcheck(
    own: Healthcheck | None, inherited: Mapping[str, object] | None
) -> Healthcheck | None:
    base = _image_healthcheck(inherited)
    if own is None:
        check = base
    elif base is None:
        check = own
    else:
        check = Healthcheck(
            test=own.test or base.test,
            interval_ns=own.interval_ns or base.interval_ns,
            timeout_ns=own.timeout_ns or base.timeout_ns,
            start_period_ns=own.start_period_ns or base.start_period_ns,
            start_interval_ns=own.start_interval_ns or base.start_interval_ns,
            retries=own.retries or base.retries,
        )
    if check is None or not check.test:
        return None
    if check.test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(f"Unknown healthcheck type '{check.test[0]}' (expected 'CMD')")
    for what, value in (
        ("Interval", check.interval_ns),
        ("Timeout", check.timeout_ns),
        ("StartPeriod", check.start_period_ns),
        ("StartInterval", check.start_interval_ns),
    ):
        if value and value < 1_000_000:
            raise InvalidArgument(f"{what} in Healthcheck cannot be less than one millisecond")
    if check.retries < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    return check


def _image_healthcheck(raw: Mapping[str, object] | None) -> Healthcheck | None:
    if not raw:
        return None

    def number(key: str) -> int:
        value = raw.get(key)
        return value if isinstance(value, int) else 0

    test = raw.get("Test")
    return Healthcheck(
        test=tuple(str(word) for word in test) if isinstance(test, list | tuple) else (),
        interval_ns=number("Interval"),
        timeout_ns=number("Timeout"),
        start_period_ns=number("StartPeriod"),
        start_interval_ns=number("StartInterval"),
        retries=number("Retries"),
    )
