"""What several resources share on the wire.

Every wire type is a msgspec Struct whose JSON names are the Engine API's: mostly the field's name
in Pascal case, the others are spelled out. What clients send may be ``null`` wherever Go has a
pointer, a slice or a map.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType


class Wire(msgspec.Struct, rename="pascal", kw_only=True):
    """Base of the types that travel."""


class ErrorBody(msgspec.Struct):
    message: str


class IdResponse(Wire, kw_only=True):
    id: str


class CreatedBody(Wire, kw_only=True):
    id: str
    warnings: list[str] = []


class EndpointIpam(Wire, kw_only=True):
    ipv4_address: str | UnsetType | None = msgspec.field(name="IPv4Address", default=UNSET)
    ipv6_address: str | UnsetType | None = msgspec.field(name="IPv6Address", default=UNSET)
    link_local_ips: list[str] | UnsetType | None = msgspec.field(name="LinkLocalIPs", default=UNSET)


class Endpoint(Wire, kw_only=True):
    """``EndpointSettings``, both ways."""

    ipam_config: EndpointIpam | None = msgspec.field(name="IPAMConfig", default=None)
    links: list[str] | None = None
    aliases: list[str] | None = None
    driver_opts: dict[str, str] | None = None
    gw_priority: int | None = 0
    network_id: str | None = msgspec.field(name="NetworkID", default="")
    endpoint_id: str | None = msgspec.field(name="EndpointID", default="")
    gateway: str | None = ""
    ip_address: str | None = msgspec.field(name="IPAddress", default="")
    mac_address: str | None = ""
    ip_prefix_len: int | None = msgspec.field(name="IPPrefixLen", default=0)
    ipv6_gateway: str | None = msgspec.field(name="IPv6Gateway", default="")
    global_ipv6_address: str | None = msgspec.field(name="GlobalIPv6Address", default="")
    global_ipv6_prefix_len: int | None = msgspec.field(name="GlobalIPv6PrefixLen", default=0)
    dns_names: list[str] | None = msgspec.field(name="DNSNames", default=None)


class Port(Wire, kw_only=True, omit_defaults=True):
    """A row of ``docker ps``'s ports."""

    ip: str = msgspec.field(name="IP", default="")
    private_port: int = 0
    public_port: int = 0
    type: str


class PruneReport(Wire, kw_only=True):
    """Only what the kind of thing pruned has."""

    containers_deleted: list[str] | UnsetType | None = UNSET
    networks_deleted: list[str] | UnsetType | None = UNSET
    volumes_deleted: list[str] | UnsetType | None = UNSET
    images_deleted: list[ImageDeleted] | UnsetType | None = UNSET
    caches_deleted: list[str] | UnsetType | None = UNSET
    space_reclaimed: int | UnsetType = UNSET


class ImageDeleted(Wire, kw_only=True, omit_defaults=True):
    untagged: str = ""
    deleted: str = ""
