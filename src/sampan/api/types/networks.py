"""Networks on the wire."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType, field

from sampan.api.types.common import Endpoint, Wire


class IpamConfig(Wire, kw_only=True):
    subnet: str | UnsetType | None = UNSET
    ip_range: str | UnsetType | None = field(name="IPRange", default=UNSET)
    gateway: str | UnsetType | None = UNSET
    auxiliary_addresses: dict[str, str] | UnsetType | None = UNSET


class Ipam(Wire, kw_only=True):
    driver: str | None = "default"
    options: dict[str, str] | None = None
    config: list[IpamConfig] | None = None


class ConfigReference(Wire, kw_only=True):
    network: str | None = ""


class NetworkContainer(Wire, kw_only=True):
    name: str
    endpoint_id: str = field(name="EndpointID")
    mac_address: str
    ipv4_address: str = field(name="IPv4Address")
    ipv6_address: str = field(name="IPv6Address")


class Peer(Wire, kw_only=True):
    """A node that has a part of an overlay network."""

    name: str
    ip: str = field(name="IP")


class NetworkTask(Wire, kw_only=True):
    name: str
    endpoint_id: str = field(name="EndpointID")
    endpoint_ip: str = field(name="EndpointIP")
    info: dict[str, str]


class NetworkService(Wire, kw_only=True):
    vip: str = field(name="VIP")
    ports: list[str]
    local_lb_index: int = field(name="LocalLBIndex")
    tasks: list[NetworkTask]


class NetworkBody(Wire, kw_only=True):
    name: str
    id: str
    created: str
    scope: str
    driver: str
    enable_ipv4: bool = field(name="EnableIPv4")
    enable_ipv6: bool = field(name="EnableIPv6")
    ipam: Ipam = field(name="IPAM")
    internal: bool
    attachable: bool
    ingress: bool
    config_from: ConfigReference
    config_only: bool
    containers: dict[str, NetworkContainer]
    options: dict[str, str]
    labels: dict[str, str]
    peers: list[Peer] | UnsetType = UNSET
    services: dict[str, NetworkService] | UnsetType = UNSET


class CreateBody(Wire, kw_only=True):
    name: str | None = ""
    check_duplicate: bool | None = None
    driver: str | None = ""
    scope: str | None = ""
    internal: bool | None = False
    attachable: bool | None = False
    ingress: bool | None = False
    config_only: bool | None = False
    config_from: ConfigReference | None = None
    ipam: Ipam | None = field(name="IPAM", default=None)
    enable_ipv4: bool | None = field(name="EnableIPv4", default=None)
    enable_ipv6: bool | None = field(name="EnableIPv6", default=None)
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class CreatedNetwork(Wire, kw_only=True):
    id: str
    warning: str = ""


class ConnectBody(Wire, kw_only=True):
    container: str | None = ""
    endpoint_config: Endpoint | None = None


class DisconnectBody(Wire, kw_only=True):
    container: str | None = ""
    force: bool | None = False


CREATE_DECODER = msgspec.json.Decoder(CreateBody)
CONNECT_DECODER = msgspec.json.Decoder(ConnectBody)
DISCONNECT_DECODER = msgspec.json.Decoder(DisconnectBody)
