"""Host ports: parsing what was asked for, and holding what was given.

The daemon holds a listening socket for every published port. Traffic never reaches it (DNAT comes
before), but nobody else can have the port, and the kernel itself tells us when somebody has it
already.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, cast

from sampan.errors import InvalidArgument
from sampan.network.contract import PortTaken
from sampan.store.records import Network, PortBinding, PublishedPort

Protocol = Literal["tcp", "udp", "sctp"]
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_RANDOM_ATTEMPTS = 64


def default_address(network: Network) -> str:
    """Address of the host at which a network's ports are published that name none; empty: all."""
    said = network.options.get("com.docker.network.bridge.host_binding_ipv4", "")
    # what Docker's default bridge says; it means every address
    return "" if said == "0.0.0.0" else said


@dataclass(frozen=True, slots=True)
class PortRequest:
    """One container port to publish on one address."""

    container_port: int
    protocol: Protocol
    host_ip: str
    first: int
    """0: any free port."""
    last: int


def parse_port(text: str) -> tuple[int, int]:
    """ "80" or "8000-8010" as (first, last); "" and "0" as (0, 0). Raises InvalidArgument."""
    first, dash, last = text.partition("-")
    if not text or text == "0":
        return 0, 0
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise InvalidArgument(f"invalid port specification: {text!r}")
    low, high = int(first), int(last or first)
    if not 0 < low <= high <= 65535:
        raise InvalidArgument(f"invalid port specification: {text!r}")
    return low, high


def parse_requests(
    wanted: dict[str, tuple[PortBinding, ...]], default_ip: str, *, ipv6: bool
) -> list[PortRequest]:
    """The API's map as a list; a binding without an address becomes one for IPv4 and one for IPv6.

    Args:
        default_ip: where bindings without an address go; empty for everywhere.
        ipv6: the host has IPv6.

    Raises:
        InvalidArgument
    """
    found = []
    for key, bindings in wanted.items():
        number, _, protocol = key.partition("/")
        protocol = protocol or "tcp"
        if protocol not in ("tcp", "udp", "sctp"):
            raise InvalidArgument(f"invalid proto: {protocol}")
        low, high = parse_port(number)
        if low == 0 or low != high:
            raise InvalidArgument(f"invalid container port: {key}")
        for binding in bindings or (PortBinding(),):
            first, last = parse_port(binding.host_port)
            address = binding.host_ip.strip("[]") or default_ip
            if address:
                try:
                    ipaddress.ip_address(address)
                except ValueError:
                    raise InvalidArgument(f"invalid host IP: {address}") from None
            addresses = [address] if address else ["0.0.0.0", "::"] if ipv6 else ["0.0.0.0"]
            for each in addresses:
                found.append(PortRequest(low, cast(Protocol, protocol), each, first, last))
    return found


@dataclass
class ReservedPort:
    """A published port and what holds it."""

    port: PublishedPort
    socket: socket.socket | None
    """None for sctp: DNAT is all there is."""


@dataclass
class PortAllocator:
    """Every published port of this daemon. Blocking, one thread."""

    held: dict[str, list[ReservedPort]] = field(default_factory=dict)
    """By container."""

    def ours(self, protocol: str, host_ip: str, number: int) -> bool:
        """Whether a container of ours has it, on this address or on all."""
        address = ipaddress.ip_address(host_ip)
        for holding in self.held.values():
            for one in holding:
                other = ipaddress.ip_address(one.port.host_ip)
                if (one.port.protocol, one.port.host_port) != (protocol, number):
                    continue
                if other.version == address.version and (
                    other == address or other.is_unspecified or address.is_unspecified
                ):
                    return True
        return False

    def hold(self, container_id: str, requests: Iterable[PortRequest]) -> list[ReservedPort]:
        """Reserve all, or none.

        Raises:
            PortTaken: in Docker's words.
        """
        requests = list(requests)
        made: list[ReservedPort] = []
        with contextlib.ExitStack() as undo:
            done: set[int] = set()
            for at in range(len(requests)):
                if at in done:
                    continue
                # The same number for the wildcard of both families: that is what the user means.
                group = [at, *_twins(requests, at)]
                done.update(group)
                for held in self._hold_group([requests[i] for i in group]):
                    undo.callback(close, held)
                    made.append(held)
                    # Recorded at once: sctp and later requests of this very call see it.
                    self.held.setdefault(container_id, []).append(held)
                    undo.callback(self.held[container_id].remove, held)
            undo.pop_all()
        return made

    def _hold_group(self, group: list[PortRequest]) -> list[ReservedPort]:
        first = group[0]
        if first.first and first.first == first.last:
            return self._hold_at(group, first.first)
        refused: PortTaken | None = None
        numbers: Iterable[int] = range(first.first, first.last + 1)
        if first.first == 0:
            numbers = (0 for _ in range(_RANDOM_ATTEMPTS))
        for number in numbers:
            try:
                return self._hold_at(group, number)
            except PortTaken as error:
                refused = error
        what = f"{first.first}-{first.last}" if first.first else "of the ephemeral range"
        raise PortTaken(f"all ports {what} are allocated") from refused

    def _hold_at(self, group: list[PortRequest], number: int) -> list[ReservedPort]:
        made: list[ReservedPort] = []
        with contextlib.ExitStack() as undo:
            for request in group:
                at = number or (made[0].port.host_port if made else 0)
                held = self._hold_one(request, at)
                undo.callback(close, held)
                made.append(held)
            undo.pop_all()
        return made

    def _hold_one(self, request: PortRequest, number: int) -> ReservedPort:
        if number and self.ours(request.protocol, request.host_ip, number):
            raise PortTaken(
                f"Bind for {_shown(request.host_ip)}:{number} failed: port is already allocated"
            )
        if request.protocol == "sctp" and not number:
            raise InvalidArgument("sctp ports need an explicit host port")
        try:
            sock = listen(request.protocol, request.host_ip, number)
        except OSError as error:
            where = f"{request.protocol} {_shown(request.host_ip)}:{number}"
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(
                    f"failed to bind host port for {_shown(request.host_ip)}:{number}: "
                    f"listen {where}: bind: address already in use"
                ) from None
            if error.errno == errno.EADDRNOTAVAIL:
                raise InvalidArgument(
                    f"listen {where}: bind: cannot assign requested address: "
                    "no interface of the host has it"
                ) from None
            raise
        if sock is not None:
            number = sock.getsockname()[1]
        return ReservedPort(
            PublishedPort(
                container_port=request.container_port,
                protocol=request.protocol,
                host_ip=request.host_ip,
                host_port=number,
            ),
            sock,
        )

    def take_back(self, container_id: str, ports: Iterable[PublishedPort]) -> list[ReservedPort]:
        """After a restart: hold again what is published already. A port that a process of the
        host has taken meanwhile stays published by DNAT; it is held by nothing."""
        found = []
        for port in ports:
            try:
                sock = listen(port.protocol, port.host_ip, port.host_port)
            except OSError:
                sock = None
            found.append(ReservedPort(port, sock))
        self.held.setdefault(container_id, []).extend(found)
        return found

    def release(self, container_id: str) -> list[ReservedPort]:
        """Idempotent. Returns what was held."""
        freed = self.held.pop(container_id, [])
        for held in freed:
            close(held)
        return freed


def close(held: ReservedPort) -> None:
    if held.socket is not None:
        held.socket.close()


def listen(protocol: str, host_ip: str, number: int) -> socket.socket | None:
    """A bound socket, listening if it is one for streams; None for sctp. Blocks. Raises OSError."""
    if protocol not in _KINDS:
        return None
    six = ":" in host_ip
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, _KINDS[protocol])
    try:
        if six:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host_ip, number))
        if protocol == "tcp":
            sock.listen(128)
    except BaseException:
        sock.close()
        raise
    return sock


def _twins(requests: list[PortRequest], at: int) -> list[int]:
    one = requests[at]
    if one.host_ip != "0.0.0.0":
        return []
    for i in range(at + 1, len(requests)):
        other = requests[i]
        if (other.container_port, other.protocol, other.first, other.last, other.host_ip) == (
            one.container_port,
            one.protocol,
            one.first,
            one.last,
            "::",
        ):
            return [i]
    return []


def _shown(address: str) -> str:
    return f"[{address}]" if ":" in address else address
