"""Who has which port of the mesh. Two services that take ports serialise on ``PORTS``."""

from __future__ import annotations

from collections.abc import Iterable

from sampan.cluster.contract import Draft
from sampan.cluster.errors import Refused
from sampan.cluster.records import Service
from sampan.cluster.spec import PortConfig, ServiceSpec

PORTS = "ports"

_Key = tuple[str, int]


def check_ports(draft: Draft, spec: ServiceSpec, service_id: str) -> None:
    """No other service has a port of ``spec``. A port of the mesh is taken on every node; ports
    on the host may be shared by services whose tasks are on different nodes.

    Raises:
        Refused: names the holder.
    """
    wanted = spec.endpoint_spec.ports if spec.endpoint_spec is not None else ()
    if not wanted:
        return
    # Also for ports that the allocator picks: it serialises on the same name.
    draft.serialize(PORTS)
    mesh = {_key(port) for port in wanted if port.publish_mode != "host" and port.published_port}
    host = {_key(port) for port in wanted if port.publish_mode == "host" and port.published_port}
    if not (mesh or host):
        return
    for service in draft.state.services.values():
        if service.id == service_id:
            continue
        for port in held(service):
            key = _key(port)
            if port.publish_mode == "host":
                if key in mesh:
                    raise _taken(port, service, "a host-published port")
            elif key in mesh or key in host:
                raise _taken(port, service, "an ingress port")


def held(service: Service) -> Iterable[PortConfig]:
    """Ports that a service asks for and those that it was given, with a number."""
    asked = service.spec.endpoint_spec.ports if service.spec.endpoint_spec is not None else ()
    given = service.endpoint.ports if service.endpoint is not None else ()
    return (port for port in (*asked, *given) if port.published_port)


def _key(port: PortConfig) -> _Key:
    return port.protocol or "tcp", port.published_port


def _taken(port: PortConfig, service: Service, how: str) -> Refused:
    return Refused(
        f"port '{port.published_port}' is already in use by service '{service.name}' "
        f"({service.id}) as {how}"
    )
