"""Which address a host gives to the others: chosen, or the only one there is.

Guessing among several would work on the desk of who guesses and break on a host with a second
network; so with more than one candidate the user is asked, and told the candidates.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sampan.cluster.peer.address import host_of, join_port, split_port
from sampan.errors import InvalidArgument
from sampan.kernel.linux import Linux

ANY = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class HostAddress:
    interface: str
    address: str


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a node listens: ``address`` may be the wildcard."""

    address: str
    port: int

    def __str__(self) -> str:
        return join_port(self.address, self.port)


class NoAddress(InvalidArgument):
    """None, or too many, to choose from."""


def of_this_host(linux: Linux, of_containers: Callable[[str], bool]) -> list[HostAddress]:
    """Every global address of an interface that is up, without those that containers hang on."""
    with linux.netlink() as netlink:
        links = {link.index: link for link in netlink.links()}
        found = []
        for index, interface in netlink.addresses():
            link = links.get(index)
            if (
                link is None
                or not link.up
                or interface.ip.is_loopback
                or interface.ip.is_link_local
            ):
                continue
            if of_containers(link.name):
                continue
            found.append(HostAddress(link.name, str(interface.ip)))
        return found


def parse_listen(text: str, known: Sequence[HostAddress]) -> Listen:
    """``--listen-addr``: an address or the name of an interface, with or without a port.

    Raises:
        InvalidArgument, NoAddress.
    """
    host, port = split_port(text or ANY)
    return Listen(_resolve(host or ANY, known, "--listen-addr", "listen"), port)


def advertised(wanted: str, listen: Listen, known: Sequence[HostAddress]) -> str:
    """``--advertise-addr`` -> "ADDRESS:PORT" for the other nodes.

    Raises:
        NoAddress: it has to be chosen, and was not.
    """
    if wanted:
        host, port = split_port(wanted, listen.port)
        address = _resolve(host, known, "--advertise-addr", "advertise")
        if ipaddress.ip_address(address).is_unspecified:
            raise InvalidArgument("advertise address must be a non-zero IP address")
        return join_port(address, port)
    if not ipaddress.ip_address(listen.address).is_unspecified:
        return join_port(listen.address, listen.port)
    return join_port(only_one(known), listen.port)


def data_path(wanted: str, advertise: str, known: Sequence[HostAddress], way_to: str) -> str:
    """``--data-path-addr`` -> the address that tunnels end at. A tunnel needs one that the host
    has: behind NAT the advertised one is not, and the one on the way out is taken.

    Args:
        way_to: ADDRESS:PORT of somebody outside.

    Raises:
        NoAddress: it has to be chosen, and was not.
    """
    if wanted:
        return _resolve(wanted, known, "--data-path-addr", "use as data path")
    told = host_of(advertise)
    if any(a.address == told for a in known):
        return told
    try:
        return towards(way_to)
    except NoAddress:
        return only_one(known, "use as data path", "--data-path-addr")


def reached_from_here(listen: str) -> str:
    """Where this host itself reaches what listens at ``listen`` (ADDRESS:PORT)."""
    host, port = split_port(listen)
    if not ipaddress.ip_address(host or ANY).is_unspecified:
        return listen
    return join_port("::1" if ":" in host else "127.0.0.1", port)


def towards(manager: str) -> str:
    """This host's address on the way to ``manager`` (ADDRESS:PORT).

    Raises:
        NoAddress: there is no way.
    """
    host, port = split_port(manager)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(found[0], socket.SOCK_DGRAM) as probe:
            probe.connect(found[4])  # chooses a route; nothing is sent
            return str(probe.getsockname()[0])
    except OSError as error:
        raise NoAddress(f"there is no way from this host to {manager}: {error}") from error


def only_one(
    known: Sequence[HostAddress], purpose: str = "advertise", option: str = "--advertise-addr"
) -> str:
    """The host's address, when there is no doubt.

    Raises:
        NoAddress: none or several; with the candidates.
    """
    version4 = [a for a in known if ":" not in a.address]
    candidates = version4 or list(known)
    if not candidates:
        raise NoAddress(f"could not find the system's IP address - specify one with {option}")
    if len(candidates) == 1:
        return candidates[0].address
    interfaces = {a.interface for a in candidates}
    several = f"could not choose an IP address to {purpose} since this system has multiple"
    if len(interfaces) == 1:
        listed = " and ".join(a.address for a in candidates)
        raise NoAddress(
            f"{several} addresses on interface {candidates[0].interface} ({listed}) - specify one "
            f"with {option}"
        )
    listed = " and ".join(f"{a.address} on {a.interface}" for a in candidates)
    raise NoAddress(
        f"{several} addresses on different interfaces ({listed}) - specify one with {option}"
    )


def _resolve(host: str, known: Sequence[HostAddress], option: str, purpose: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    of_interface = [a.address for a in known if a.interface == host]
    version4 = [a for a in of_interface if ":" not in a] or of_interface
    if len(version4) == 1:
        return version4[0]
    if version4:
        raise NoAddress(
            f"interface {host} has more than one address ({' and '.join(version4)}) - specify the "
            f"one to {purpose} with {option}"
        )
    raise NoAddress(
        f"could not parse {host!r} of {option} as an IP address, and there is no interface of "
        "that name with one"
    )


def etcd_url(advertise: str) -> str:
    """Where a manager's store is reached: the port after the one for everything else."""
    host, port = split_port(advertise)
    return f"https://{join_port(host, port + 1 if port < 65535 else port - 1)}"


def etcd_port(url: str) -> int:
    """The port of ``etcd_url``."""
    return int(url.rpartition(":")[2])
