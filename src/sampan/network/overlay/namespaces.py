"""Containers' namespaces: virtual addresses, and a task's way back through the mesh. Blocking.

A namespace's nftables context is made for one change and closed by another thread: the kernel lets
a netlink socket that has deleted anything go only after a grace period (14 ms), and a context that
is kept costs up to 700 KB. So a change takes 0.7 ms of the worker, whatever the kernel has to
tidy up after it.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.kernel import conntrack, tunnel
from sampan.kernel.conntrack import NETLINK_NETFILTER, Flow
from sampan.kernel.linux import Linux, Nftables
from sampan.kernel.nft import NftError
from sampan.network.overlay import rules
from sampan.network.overlay.plan import Balance, Departed, NetworkPlan
from sampan.store.records import EndpointSettings

log = logging.getLogger(__name__)

ROUTE_TABLE, RULE_PRIORITY = 2377, 100
NOBODY, NOBODYS_MAC = "169.254.23.77", "02:42:00:00:00:00"
"""A neighbour whom nobody is: replies are routed to it, and get their real MAC at the very end."""
UDP = 17
FEW = 2000
"""Up to so many connections it is cheaper to look at all of them here than to have the kernel walk
its table once for each address."""


@dataclass(frozen=True, slots=True)
class OverlayNamespace:
    """A container of this node that is on overlay networks."""

    container_id: str
    path: Path
    endpoints: dict[str, EndpointSettings]
    """By network id; overlay networks only."""


class _LastApplied(msgspec.Struct):
    """What a namespace has been told; None: nothing, or nobody remembers."""

    balance: Balance | None = None
    nodes: frozenset[str] | None = None


class OverlayNamespaces:
    """Everything here runs on the network's worker thread.

    What a namespace was told is kept in a file as well, which is away while the namespace is being
    changed: the next daemon believes it, and need not write a hundred tables again (each with a
    deletion, 14 ms). The files live where the namespaces' names do, and go with them at a reboot.
    """

    def __init__(
        self, linux: Linux, directory: Path, close_later: Callable[[Nftables], None]
    ) -> None:
        """Args:
        close_later: closes a context, on another thread.
        """
        self._linux = linux
        self._directory, self._close_later = directory, close_later
        self._last_applied: dict[str, _LastApplied] = {}

    def program(
        self,
        place: OverlayNamespace,
        plans: dict[str, NetworkPlan],
        nodes: frozenset[str],
        *,
        fresh: bool = False,
    ) -> None:
        """Make the namespace true to the plans.

        Args:
            nodes: ingress addresses of the cluster's nodes.
            fresh: a new namespace: nothing is there that an earlier daemon has left.

        Raises:
            OSError, NftError
        """
        on = [plans[network_id] for network_id in place.endpoints if network_id in plans]
        balance = {vip: members for plan in on for vip, members in plan.balance.items()}
        through = next((p for p in on if p.network.ingress), None)
        if fresh and place.container_id not in self._last_applied:
            self._file(place.container_id).unlink(missing_ok=True)
        known = self._known(place.container_id)
        if through is None:
            known.nodes = None  # the interface has gone, and the egress chain with it
        serve = known.balance != balance if balance else bool(known.balance)
        answer = through is not None and known.nodes != nodes
        if not serve and not answer:
            return
        mine = place.endpoints[through.network.id] if through is not None else None
        self._file(place.container_id).unlink(missing_ok=True)
        # Whatever happens to it now: unless all of it comes through, it is written anew.
        del self._last_applied[place.container_id]

        def inside() -> bool:
            """Whether answers find their way now."""
            nft = self._linux.nft()
            try:
                if serve:
                    text = rules.services(known.balance, balance)
                    _apply(nft, text, (("ip", rules.TABLE),) if known.balance is None else ())
                # An interface that is still to come brings us here once more.
                if answer and mine is not None and self._linux.index_of(mine.interface):
                    if known.nodes is None:
                        _lead_back(self._linux, mine.interface)
                    text = rules.ingress(mine.interface, mine.ipv4, known.nodes, nodes)
                    tables = (("ip", rules.INGRESS), ("netdev", rules.INGRESS))
                    _apply(nft, text, tables if known.nodes is None else ())
                    return True
                return False
            finally:
                self._close_later(nft)

        answers = self._linux.netns.run_inside(place.path, inside)
        now = _LastApplied(balance if serve else known.balance, nodes if answers else known.nodes)
        self._last_applied[place.container_id] = now
        self._file(place.container_id).write_bytes(msgspec.json.encode(now))

    def _file(self, container_id: str) -> Path:
        return self._directory / container_id

    def _known(self, container_id: str) -> _LastApplied:
        last_applied = self._last_applied.get(container_id)
        if last_applied is None:
            try:
                last_applied = msgspec.json.decode(
                    self._file(container_id).read_bytes(), type=_LastApplied
                )
            except (FileNotFoundError, msgspec.MsgspecError):
                last_applied = _LastApplied()
            self._last_applied[container_id] = last_applied
        return last_applied

    def clear(self, place: OverlayNamespace) -> None:
        """Nothing of the cluster is left in the namespace. Idempotent. Raises OSError, NftError."""
        self.forget(place.container_id)
        tables = (("ip", rules.TABLE), ("ip", rules.INGRESS), ("netdev", rules.INGRESS))

        def inside() -> None:
            nft = self._linux.nft()
            try:
                nft.run(rules.without(tables))
            finally:
                self._close_later(nft)

        self._linux.netns.run_inside(place.path, inside)

    def forget(self, container_id: str) -> None:
        """The namespace is gone, or another one has its name now."""
        self._last_applied.pop(container_id, None)
        self._file(container_id).unlink(missing_ok=True)


def forget_flows(
    linux: Linux, left: Departed, unanswered: frozenset[bytes] = frozenset()
) -> frozenset[bytes]:
    """In the thread's namespace: connections that lead to nobody are taken up anew, by whoever
    serves now, with the client's next packet.

    - to a member that has gone: all. What is in the middle of a TCP connection is refused by the
      new member, which tells the client at once what it would else learn in a quarter of an hour.
    - to one that only serves no more: UDP, and TCP that is not being answered. Between our look at
      a connection that has just begun and its removal it may be answered, and would be torn: so
      those go that were ``unanswered`` a moment ago and still are.

    Returns the keys of the connections that may turn out to be unanswered.

    Raises:
        OSError
    """
    count = conntrack.tracked(linux.sysctl)
    if not count:
        return frozenset()
    begun: set[bytes] = set()

    def stale(flow: Flow) -> bool:
        if not flow.translated:
            return False
        if flow.leads_to in left.gone:
            return True
        if flow.leads_to not in left.draining:
            return False
        if flow.protocol == UDP or (not flow.replied and flow.key in unanswered):
            return True
        if not flow.replied:
            begun.add(flow.key)
        return False

    with linux.netlink(NETLINK_NETFILTER) as link:
        if count <= FEW:
            conntrack.forget(link, stale)
        else:
            for address in left.gone | left.draining:
                conntrack.forget_answered_by(link, address, stale)
    return frozenset(begun)


def forget_askers(linux: Linux, ports: Iterable[int]) -> None:
    """In the thread's namespace: datagrams to these ports that were nobody's until now, and whose
    sender goes on sending, are taken up anew.

    Raises:
        OSError
    """
    if not conntrack.tracked(linux.sysctl):
        return
    with linux.netlink(NETLINK_NETFILTER) as link:
        for port in ports:
            conntrack.forget_asking_for(link, UDP, port, lambda flow: not flow.translated)


def _apply(nft: Nftables, text: str, tables: tuple[tuple[str, str], ...]) -> None:
    if not text:
        return
    try:
        nft.run(text)
    except NftError:
        if not tables:
            raise
        # There are tables of an earlier daemon. Not replaced at the first try: a deletion waits
        # for a grace period.
        nft.run(rules.without(tables, text))


def _lead_back(linux: Linux, interface: str) -> None:
    """In a task's namespace: what bears the mark goes out by the ingress interface."""
    index = linux.index_of(interface)
    # Clients' addresses are of anywhere: by the routes they would come in by another interface.
    for name in ("all", interface):
        linux.sysctl.ensure(f"net/ipv4/conf/{name}/rp_filter", "0")
    # A connection that is accepted is routed back by the mark from its first answer on (else it
    # would announce the segment size of another interface), and so are refusals.
    linux.sysctl.ensure("net/ipv4/tcp_fwmark_accept", "1")
    linux.sysctl.ensure("net/ipv4/fwmark_reflect", "1")
    with linux.netlink() as link:
        tunnel.send(
            link,
            [
                tunnel.neighbour(index, NOBODY, NOBODYS_MAC),
                tunnel.table_route(ROUTE_TABLE, NOBODY, index),
                tunnel.mark_rule(rules.MARK, ROUTE_TABLE, RULE_PRIORITY),
            ],
            accept=(errno.EEXIST,),
        )
