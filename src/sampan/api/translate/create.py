"""The body of ``POST /containers/create`` to the engine's ``CreateRequest``."""

from __future__ import annotations

from typing import TypeVar

from msgspec import UNSET, UnsetType

from sampan.api.translate import hostconfig
from sampan.api.translate.mounts import all_mounts
from sampan.api.types import containers as wire
from sampan.api.types.common import Endpoint, EndpointIpam
from sampan.api.types.hostconfig import HostConfig
from sampan.engine.contract import CreateRequest
from sampan.errors import InvalidArgument, Unsupported
from sampan.store.records import ContainerSpec, EndpointSettings, Healthcheck

_MS = 1_000_000
T = TypeVar("T")


def request(body: wire.CreateBody, *, name: str, platform: str) -> CreateRequest:
    """What the client asked for, checked as far as it can be without looking at the host."""
    host = body.host_config or HostConfig()
    if not body.image:
        raise InvalidArgument("no image specified: the field Image is empty")
    volumes = tuple(body.volumes or {})
    record = hostconfig.record(host)
    entrypoint = _strings(body.entrypoint)
    spec = ContainerSpec(
        image=body.image,
        args=(),
        entrypoint=entrypoint or None,
        cmd=_strings(body.cmd),
        env=_env(body.env or []),
        user=body.user or "",
        working_dir=body.working_dir or "",
        hostname=body.hostname or "",
        domainname=body.domainname or "",
        tty=bool(body.tty),
        open_stdin=bool(body.open_stdin),
        stdin_once=bool(body.stdin_once),
        attach_stdin=bool(body.attach_stdin),
        attach_stdout=bool(body.attach_stdout),
        attach_stderr=bool(body.attach_stderr),
        labels=dict(body.labels or {}),
        exposed_ports=tuple(hostconfig.port_key(port) for port in _set(body.exposed_ports) or ()),
        volumes=volumes,
        stop_signal=_set(body.stop_signal) or "",
        stop_timeout_s=_set(body.stop_timeout),
        healthcheck=healthcheck(_set(body.healthcheck)),
        shell=_tuple(_set(body.shell)),
        on_build=_tuple(_set(body.on_build)),
        network_disabled=bool(_set(body.network_disabled)),
        mounts=all_mounts(host, volumes, volume_driver=host.volume_driver or ""),
        host=record,
    )
    return CreateRequest(
        spec=spec,
        name=name,
        platform=platform,
        networks=_networks(body, record.network_mode),
        entrypoint_reset=body.entrypoint is not None and entrypoint in ((), ("",)),
    )


def _networks(body: wire.CreateBody, mode: str) -> dict[str, EndpointSettings]:
    asked = (body.networking_config and body.networking_config.endpoints_config) or {}
    networks: dict[str, EndpointSettings] = {}
    for name, endpoint in asked.items():
        key = "bridge" if name == "default" else name
        networks[key] = endpoint_record(key, endpoint or Endpoint())
    mac = _set(body.mac_address)
    if mac and not mode.startswith("container:"):
        # Before 1.44 the address was the container's; it goes to the network of its mode.
        primary = networks.get(mode) or endpoint_record(mode, Endpoint())
        if not primary.mac_wanted:
            networks[mode] = EndpointSettings(
                network_id="",
                network_name=mode,
                aliases=primary.aliases,
                links=primary.links,
                ipv4_wanted=primary.ipv4_wanted,
                ipv6_wanted=primary.ipv6_wanted,
                mac_wanted=mac,
                driver_opts=primary.driver_opts,
                gw_priority=primary.gw_priority,
            )
    return networks


def endpoint_record(name: str, endpoint: Endpoint) -> EndpointSettings:
    """What a client wants of one network."""
    ipam = endpoint.ipam_config or EndpointIpam()
    if _set(ipam.link_local_ips):
        raise Unsupported(
            f"network {name}: link-local addresses are not supported: leave --link-local-ip out, "
            "or give the address with --ip or --ip6"
        )
    return EndpointSettings(
        network_id="",
        network_name=name,
        aliases=tuple(dict.fromkeys(endpoint.aliases or ())),
        links=tuple(endpoint.links or ()),
        ipv4_wanted=_set(ipam.ipv4_address) or "",
        ipv6_wanted=_set(ipam.ipv6_address) or "",
        mac_wanted=endpoint.mac_address or "",
        driver_opts=dict(endpoint.driver_opts or {}),
        gw_priority=endpoint.gw_priority or 0,
    )


def healthcheck(check: wire.Healthcheck | None) -> Healthcheck | None:
    """A health check; the image's defaults are merged in by the engine."""
    if check is None:
        return None
    for name, value in (
        ("Interval", check.interval),
        ("Timeout", check.timeout),
        ("StartPeriod", check.start_period),
        ("StartInterval", check.start_interval),
    ):
        if value and value < _MS:
            raise InvalidArgument(f"{name} in Healthcheck cannot be less than 1ms")
    if (check.retries or 0) < 0:
        raise InvalidArgument("Retries in Healthcheck cannot be negative")
    test = tuple(check.test or ())
    if test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise InvalidArgument(
            f"Unknown type {test[0]!r} in Healthcheck: Test begins with NONE, CMD or CMD-SHELL"
        )
    return Healthcheck(
        test=test,
        interval_ns=check.interval or 0,
        timeout_ns=check.timeout or 0,
        start_period_ns=check.start_period or 0,
        start_interval_ns=check.start_interval or 0,
        retries=check.retries or 0,
    )


def healthcheck_out(check: Healthcheck | None) -> wire.Healthcheck | UnsetType:
    """As inspect shows it."""
    if check is None:
        return UNSET
    return wire.Healthcheck(
        test=list(check.test) or None,
        interval=check.interval_ns or None,
        timeout=check.timeout_ns or None,
        start_period=check.start_period_ns or None,
        start_interval=check.start_interval_ns or None,
        retries=check.retries or None,
    )


def _env(env: list[str]) -> tuple[str, ...]:
    for entry in env:
        if not entry.partition("=")[0]:
            raise InvalidArgument(f"invalid environment variable: {entry}")
    return tuple(env)


def _strings(value: list[str] | str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return (value,) if isinstance(value, str) else tuple(value)


def _tuple(value: list[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _set(value: T | UnsetType | None) -> T | None:
    return None if isinstance(value, UnsetType) else value
