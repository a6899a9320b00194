"""Published ports of services. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from sampan.cluster.records import Service
from sampan.cluster.spec import EndpointSpec, PortConfig

FIRST_PORT, LAST_PORT = 30_000, 32_767

PortKey = tuple[str, int]
"""Protocol and published port."""


class PortTaken(Exception):
    """``str`` is for the user."""


def by_mesh(port: PortConfig) -> bool:
    return port.publish_mode != "host"


def key_of(port: PortConfig) -> PortKey:
    return port.protocol or "tcp", port.published_port


def ports_of(service: Service) -> frozenset[PortKey]:
    """The mesh ports that it has been given."""
    return frozenset(
        key_of(port)
        for port in (service.endpoint.ports if service.endpoint is not None else ())
        if by_mesh(port) and port.published_port
    )


class PortTable:
    """Which services have which mesh port, moved on by each change of one."""

    def __init__(self) -> None:
        self._holders: dict[PortKey, dict[str, str]] = {}
        """Port -> service id -> its name."""

    def count(self, service: Service, by: int) -> None:
        """It is there (``by`` 1), or is not as it was any more (-1)."""
        for key in ports_of(service):
            if by > 0:
                self._holders.setdefault(key, {})[service.id] = service.name or service.id
            else:
                holders = self._holders.get(key, {})
                holders.pop(service.id, None)
                if not holders:
                    self._holders.pop(key, None)

    def besides(self, service_id: str, given: Mapping[str, Service]) -> Mapping[PortKey, str]:
        """Port -> name of a service that has it, ``service_id`` apart.

        Args:
            given: services that have been served since, by id.
        """
        return _Others(self._holders, service_id, given)

    def snapshot(self) -> dict[PortKey, dict[str, str]]:
        return {key: dict(holders) for key, holders in self._holders.items()}


class _Others(Mapping[PortKey, str]):
    def __init__(
        self,
        holders: Mapping[PortKey, Mapping[str, str]],
        besides: str,
        given: Mapping[str, Service],
    ) -> None:
        self._holders, self._besides, self._given = holders, besides, given
        self._since = {
            key: service.name or service.id
            for service in given.values()
            if service.id != besides
            for key in ports_of(service)
        }

    def __getitem__(self, key: PortKey) -> str:
        if key in self._since:
            return self._since[key]
        for id, name in self._holders.get(key, {}).items():
            if id != self._besides and id not in self._given:
                return name
        raise KeyError(key)

    def __iter__(self) -> Iterator[PortKey]:
        return (key for key in {*self._since, *self._holders} if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def allocate_ports(
    wanted: EndpointSpec,
    had: Sequence[PortConfig],
    used: Mapping[PortKey, str],
    cursor: int = 0,
) -> tuple[tuple[PortConfig, ...], int]:
    """Every mesh port with its published number: what was asked, else what it had before, else
    the next free one after ``hand``.

    Returns:
        The ports and the new hand.

    Raises:
        PortTaken: asked for and in use, or none is left.
    """
    mine: set[PortKey] = {key_of(port) for port in wanted.ports if port.published_port}
    ports: list[PortConfig] = []
    for port in wanted.ports:
        if not by_mesh(port):
            ports.append(port)
            continue
        protocol, number = key_of(port)
        if number:
            if (protocol, number) in used:
                raise PortTaken(
                    f"port '{number}' is already in use by service '{used[protocol, number]}'"
                )
        else:
            number = next(
                (
                    old.published_port
                    for old in had
                    if _same_but_number(old, port)
                    and key_of(old) not in used
                    and key_of(old) not in mine
                ),
                0,
            )
            if not number:
                number = cursor = _next_free(protocol, used, mine, cursor)
            mine.add((protocol, number))
        ports.append(msgspec.structs.replace(port, published_port=number))
    return tuple(ports), cursor


def _same_but_number(one: PortConfig, other: PortConfig) -> bool:
    return (
        by_mesh(one) == by_mesh(other)
        and (one.protocol or "tcp") == (other.protocol or "tcp")
        and one.target_port == other.target_port
        and one.name == other.name
    )


def _next_free(protocol: str, used: Mapping[PortKey, str], mine: set[PortKey], cursor: int) -> int:
    size = LAST_PORT - FIRST_PORT + 1
    start = cursor + 1 if FIRST_PORT <= cursor < LAST_PORT else FIRST_PORT
    for step in range(size):
        number = FIRST_PORT + (start - FIRST_PORT + step) % size
        if (protocol, number) not in used and (protocol, number) not in mine:
            return number
    raise PortTaken(f"no free port is left between {FIRST_PORT} and {LAST_PORT}")
