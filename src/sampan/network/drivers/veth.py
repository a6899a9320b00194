"""Interfaces of sandboxes: a pair to a bridge, or one that somebody else has made. What is no
coroutine blocks."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

from sampan.kernel import netlink
from sampan.kernel.linux import Linux
from sampan.network.drivers.contract import StaticRoute
from sampan.network.worker import NetworkWorker
from sampan.store.records import EndpointSettings


def add_port(
    worker: NetworkWorker,
    veth: str,
    sandbox: Path,
    endpoint: EndpointSettings,
    *,
    bridge: str,
    mtu: int,
    group: int,
) -> None:
    """A pair of interfaces: ``veth`` on the bridge, ``endpoint.interface`` in the sandbox."""
    with worker.linux.netns.opened(sandbox) as target:
        worker.netlink.do(
            netlink.add_veth(
                veth,
                peer=endpoint.interface,
                peer_mac=endpoint.mac,
                peer_netns=target,
                mtu=mtu,
                group=group,
                master=worker.linux.index_of(bridge),
            )
        )


async def connect_port(
    worker: NetworkWorker,
    veth: str,
    sandbox: Path,
    endpoint: EndpointSettings,
    *,
    bridge: str,
    mtu: int,
    group: int,
    finish: Callable[[], None],
) -> None:
    """``add_port``, then ``finish``, both on the worker. Of what fails, or is given up, nothing is
    left."""

    def undo() -> None:
        worker.netlink.request(netlink.delete_link(veth))

    def connect() -> None:
        add_port(worker, veth, sandbox, endpoint, bridge=bridge, mtu=mtu, group=group)
        try:
            finish()
        except BaseException:
            undo()
            raise

    await worker.run(connect, undo)


def configure(
    linux: Linux,
    endpoint: EndpointSettings,
    *,
    default_route: bool,
    routes: Sequence[StaticRoute] = (),
    mac: str = "",
) -> None:
    """In the sandbox: one send for everything."""
    index = linux.index_of(endpoint.interface)
    if endpoint.ipv6:
        linux.sysctl.write(f"net/ipv6/conf/{endpoint.interface}/disable_ipv6", "0")
    messages = [netlink.set_link(endpoint.interface, up=True, mac=mac)]
    if endpoint.ipv4:
        messages.append(netlink.add_address(index, endpoint.ipv4, endpoint.ipv4_prefix))
    if endpoint.ipv6:
        messages.append(netlink.add_address(index, endpoint.ipv6, endpoint.ipv6_prefix))
    if default_route:
        gateways = (endpoint.gateway, endpoint.ipv6_gateway)
        messages += [netlink.default_route(g, index) for g in gateways if g]
    messages += [netlink.static_route(r.destination, index, r.next_hop) for r in routes]
    with linux.netlink() as inside:
        inside.do(*messages)


def give_default_route(linux: Linux, endpoint: EndpointSettings) -> None:
    """In the sandbox: make a second network's gateway the way out, when the first has gone."""
    index = linux.index_of(endpoint.interface)
    with linux.netlink() as inside:
        for gateway in (endpoint.gateway, endpoint.ipv6_gateway):
            if gateway:
                (outcome,) = inside.request(netlink.default_route(gateway, index))
                if outcome is not None and outcome.errno != errno.EEXIST:
                    raise outcome


def take_in(
    worker: NetworkWorker,
    source: str,
    sandbox: Path,
    endpoint: EndpointSettings,
    routes: Sequence[StaticRoute],
    *,
    default_route: bool,
) -> None:
    """Move the host's interface ``source`` into the sandbox, and make it the endpoint's.

    On failure it is not the endpoint's; its maker takes it away.

    Raises:
        OSError: ENODEV: there is no such interface.
    """
    linux = worker.linux
    index = linux.index_of(source)
    if not index:
        raise OSError(errno.ENODEV, f"the driver's interface {source} is not on this host")
    with linux.netns.opened(sandbox) as target:
        worker.netlink.do(netlink.move_link(index, netns=target, name=endpoint.interface))
    linux.netns.run_inside(
        sandbox,
        lambda: configure(
            linux, endpoint, default_route=default_route, routes=routes, mac=endpoint.mac
        ),
    )


def let_go(linux: Linux, sandbox: Path, endpoint: EndpointSettings) -> None:
    """Take away what ``take_in`` has brought in. Idempotent."""

    def inside() -> None:
        with linux.netlink() as link:
            (outcome,) = link.request(netlink.delete_link(endpoint.interface))
        if outcome is not None and outcome.errno != errno.ENODEV:
            raise outcome

    try:
        linux.netns.run_inside(sandbox, inside)
    except FileNotFoundError:
        return
