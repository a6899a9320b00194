"""Networks and endpoints, both ways."""

from __future__ import annotations

import ipaddress
import re

from msgspec import UNSET

from sampan.api.timestamps import rfc3339
from sampan.api.types import networks as wire
from sampan.api.types.common import Endpoint, EndpointIpam
from sampan.errors import InvalidArgument
from sampan.network.contract import DEFAULT_DRIVER, DEFAULT_IPAM, PREDEFINED
from sampan.store.records import Container, EndpointSettings, IpamPool, Network

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_ENABLE_V4 = "com.docker.network.enable_ipv4"
_ENABLE_V6 = "com.docker.network.enable_ipv6"


def endpoint_out(
    endpoint: EndpointSettings, container: Container | None, network_id: str = ""
) -> Endpoint:
    """One attachment as inspect shows it."""
    ipam: EndpointIpam | None = None
    if endpoint.ipv4_wanted or endpoint.ipv6_wanted:
        ipam = EndpointIpam(
            ipv4_address=endpoint.ipv4_wanted or UNSET, ipv6_address=endpoint.ipv6_wanted or UNSET
        )
    dns_names: list[str] | None = None
    predefined = endpoint.network_name in PREDEFINED
    if container is not None and not predefined:
        names = (container.name, *endpoint.aliases, container.id[:12], container.spec.hostname)
        dns_names = [name for name in dict.fromkeys(names) if name]
    return Endpoint(
        ipam_config=ipam,
        links=list(endpoint.links) or None,
        aliases=list(endpoint.aliases) or None,
        driver_opts=endpoint.driver_opts or None,
        gw_priority=endpoint.gw_priority,
        network_id=endpoint.network_id or network_id,
        endpoint_id=endpoint.endpoint_id,
        gateway=endpoint.gateway,
        ip_address=endpoint.ipv4,
        mac_address=endpoint.mac,
        ip_prefix_len=endpoint.ipv4_prefix,
        ipv6_gateway=endpoint.ipv6_gateway,
        global_ipv6_address=endpoint.ipv6,
        global_ipv6_prefix_len=endpoint.ipv6_prefix,
        dns_names=dns_names,
    )


def network_out(network: Network) -> wire.NetworkBody:
    """A network without its containers."""
    return wire.NetworkBody(
        name=network.name,
        id=network.id,
        created=rfc3339(network.created_at),
        scope=network.scope,
        driver=PREDEFINED[network.name] if network.predefined else network.driver,
        enable_ipv4=network.enable_ipv4,
        enable_ipv6=network.enable_ipv6,
        ipam=wire.Ipam(
            driver=network.ipam_driver,
            options=network.ipam_options or None,
            config=[
                wire.IpamConfig(
                    subnet=pool.subnet,
                    ip_range=pool.ip_range or UNSET,
                    gateway=pool.gateway or UNSET,
                    auxiliary_addresses=pool.aux_addresses or UNSET,
                )
                for pool in network.pools
            ],
        ),
        internal=network.internal,
        attachable=network.attachable,
        ingress=network.ingress,
        config_from=wire.ConfigReference(),
        config_only=False,
        containers={},
        options=network.options,
        labels=network.labels,
    )


def container_out(endpoint: EndpointSettings, name: str) -> wire.NetworkContainer:
    """A running container in a network's inspect."""
    return wire.NetworkContainer(
        name=name,
        endpoint_id=endpoint.endpoint_id,
        mac_address=endpoint.mac,
        ipv4_address=f"{endpoint.ipv4}/{endpoint.ipv4_prefix}" if endpoint.ipv4 else "",
        ipv6_address=f"{endpoint.ipv6}/{endpoint.ipv6_prefix}" if endpoint.ipv6 else "",
    )


def wanted(body: wire.CreateBody, *, now: float) -> Network:
    """A network as the client asked for it; the engine gives it an id and what else it lacks.

    Raises:
        InvalidArgument: a name or an address that is not valid.
    """
    name = body.name or ""
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"invalid network name {name!r}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed"
        )
    if body.config_only or (body.config_from and body.config_from.network):
        raise InvalidArgument("configuration-only networks are for clusters: leave ConfigOnly out")
    ipam = body.ipam or wire.Ipam()
    options = dict(body.options or {})
    ipv4 = body.enable_ipv4 if body.enable_ipv4 is not None else options.get(_ENABLE_V4) != "false"
    ipv6 = body.enable_ipv6 if body.enable_ipv6 is not None else options.get(_ENABLE_V6) == "true"
    return Network(
        id="",
        name=name,
        driver=body.driver or DEFAULT_DRIVER,
        created_at=now,
        scope="swarm" if body.scope == "swarm" else "local",
        internal=bool(body.internal),
        attachable=bool(body.attachable),
        ingress=bool(body.ingress),
        enable_ipv4=bool(ipv4),
        enable_ipv6=bool(ipv6),
        ipam_driver=ipam.driver or DEFAULT_IPAM,
        ipam_options=dict(ipam.options or {}),
        pools=tuple(_pool(config) for config in ipam.config or ()),
        options=options,
        labels=dict(body.labels or {}),
    )


def _pool(config: wire.IpamConfig) -> IpamPool:
    def text(value: object) -> str:
        return value if isinstance(value, str) else ""

    subnet, gateway, ip_range = text(config.subnet), text(config.gateway), text(config.ip_range)
    try:
        if subnet:
            ipaddress.ip_network(subnet, strict=False)
        if ip_range:
            ipaddress.ip_network(ip_range, strict=False)
        if gateway:
            ipaddress.ip_address(gateway)
    except ValueError as error:
        raise InvalidArgument(f"invalid IPAM config: {error}") from error
    aux = config.auxiliary_addresses
    return IpamPool(
        subnet=subnet,
        gateway=gateway,
        ip_range=ip_range,
        aux_addresses=dict(aux) if isinstance(aux, dict) else {},
    )
