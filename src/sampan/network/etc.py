"""The three files by which a container knows its name and its resolver. Pure but for one read."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sampan.network.contract import ContainerNet, EtcFiles
from sampan.store.records import EndpointSettings

EMBEDDED = "127.0.0.11"
_SYSTEMD_STUB = "127.0.0.53"
_SYSTEMD_REAL = Path("run/systemd/resolve/resolv.conf")
_LAST_RESORT = ("8.8.8.8", "8.8.4.4")
_LOCAL = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)


@dataclass(frozen=True, slots=True)
class ResolvConf:
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def parse_resolv_conf(text: str) -> ResolvConf:
    """What resolv.conf(5) would make of it: the last ``search`` (or ``domain``) counts."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        match words:
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search" | "domain", *names]:
                search = tuple(names)
            case ["options", *more]:
                options += more
    return ResolvConf(tuple(servers), search, tuple(options))


def host_resolver(root: Path = Path("/")) -> ResolvConf:
    """The host's, as it is at this moment; behind systemd's stub its real servers."""
    try:
        found = parse_resolv_conf((root / "etc/resolv.conf").read_text())
        if set(found.servers) == {_SYSTEMD_STUB} and (root / _SYSTEMD_REAL).exists():
            found = parse_resolv_conf((root / _SYSTEMD_REAL).read_text())
    except OSError:
        return ResolvConf()
    return found


def is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


def hosts_file(
    container: ContainerNet,
    endpoints: Sequence[EndpointSettings],
    links: Iterable[tuple[str, Sequence[str]]],
    host_gateway: Sequence[str],
) -> str:
    """Args:
    links: (address, names) of legacy links.
    host_gateway: what the address ``host-gateway`` stands for.
    """
    lines = list(_LOCAL)
    for entry in container.extra_hosts:
        # NAME:ADDRESS, where ADDRESS may be IPv6 with colons of its own; NAME=ADDRESS too.
        split = min((i for i in (entry.find(":"), entry.find("=")) if i > 0), default=len(entry))
        name, address = entry[:split], entry[split + 1 :]
        targets = host_gateway if address == "host-gateway" else [address.strip("[]")]
        lines += [f"{target}\t{name}" for target in targets]
    for address, names in links:
        lines.append(f"{address}\t{' '.join(names)}")
    short = container.container_id[:12]
    own = container.hostname if container.hostname == short else f"{container.hostname} {short}"
    host, _, domain = container.hostname.partition(".")
    if domain:
        own = f"{container.hostname} {host}"
    for endpoint in endpoints:
        lines += [f"{a}\t{own}" for a in (endpoint.ipv4, endpoint.ipv6) if a]
    return "\n".join(lines) + "\n"


def resolv_conf(
    container: ContainerNet,
    host: ResolvConf,
    *,
    embedded: bool,
    own_namespace: bool = True,
) -> str:
    """Args:
    embedded: the container is on a user-defined network and asks ``EMBEDDED``.
    own_namespace: a loopback server of the host cannot be reached from it.
    """
    servers = container.dns or host.servers
    search = container.dns_search or host.search
    options = list(container.dns_options or host.options)
    if search == (".",):
        search = ()
    if embedded:
        servers = (EMBEDDED,)
        if not any(option.startswith("ndots:") for option in options):
            options.append("ndots:0")
    elif own_namespace and not container.dns:
        servers = tuple(s for s in servers if not is_loopback(s)) or _LAST_RESORT
    lines = [f"nameserver {server}" for server in servers]
    if search:
        lines.append("search " + " ".join(search))
    if options:
        lines.append("options " + " ".join(options))
    return "\n".join(lines) + "\n"


def forward_to(container: ContainerNet, host: ResolvConf) -> tuple[str, ...]:
    """Where the embedded server sends what it does not know. It asks from the host's namespace,
    so the host's loopback servers are good enough."""
    return container.dns or host.servers or _LAST_RESORT


def etc_files(
    container: ContainerNet,
    endpoints: Sequence[EndpointSettings],
    host: ResolvConf,
    *,
    embedded: bool,
    host_network: bool,
    links: Iterable[tuple[str, Sequence[str]]] = (),
    host_gateway: Sequence[str] = (),
) -> EtcFiles:
    return EtcFiles(
        hosts=hosts_file(container, endpoints, links, host_gateway),
        hostname=container.hostname + "\n",
        resolv_conf=resolv_conf(container, host, embedded=embedded, own_namespace=not host_network),
    )
