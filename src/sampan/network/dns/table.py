"""Who is called what, and who may ask. Pure.

A name belongs to a network; a sandbox sees the names of the networks it is on, under three
spellings: as such, with the network's name behind it, and by its own links. Several endpoints with
one name are all answered, in turn first.

A cluster's names are told apart: service names and members, a zone a network. They come before what
containers are called, so that a service's name is its virtual address and nothing else.

Each network's map is replaced, never changed: a reader that holds one has a consistent picture.
The whole is replaced as well, between ``begin`` and ``commit``: until then questions are answered
from what was true before, so that a daemon that comes back and tells everything again, in as many
packets as it takes, opens no window without names.
"""

from __future__ import annotations

from itertools import cycle
from typing import NamedTuple

from sampan.network.dns import message
from sampan.network.dns.message import Query

TTL_S = 5
"""Short, because containers come and go: Docker's ten minutes keep stale addresses in proxies."""


class DnsEndpoint(NamedTuple):
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    """The first is the one that PTR tells."""
    network_name: str
    links: tuple[tuple[str, str], ...] = ()
    """(name, alias), for this endpoint's own questions."""


class _Zone(NamedTuple):
    forward: dict[str, tuple[str, ...]]
    reverse: dict[str, str]


class _ClusterZone:
    """A cluster's names on one network, without the network's behind them."""

    def __init__(self, suffix: str) -> None:
        self.suffix = suffix
        self.forward: dict[str, tuple[str, ...]] = {}
        self.reverse: dict[str, str] = {}

    def lookup(self, name: str) -> tuple[str, ...]:
        return self.forward.get(name) or self.forward.get(name.removesuffix(self.suffix), ())


class _Index:
    def __init__(self) -> None:
        self.endpoints: dict[str, dict[str, DnsEndpoint]] = {}
        """By network and sandbox."""
        self.networks_of: dict[str, set[str]] = {}
        self.zones: dict[str, _Zone] = {}
        self.cluster: dict[str, _ClusterZone] = {}
        self.arriving: dict[str, _ClusterZone] = {}


class DnsTable:
    def __init__(self) -> None:
        self._now = _Index()
        self._next: _Index | None = None

    def begin(self) -> None:
        """Write on an empty page; nobody reads it before ``commit``."""
        self._next = _Index()

    def commit(self) -> None:
        if self._next is not None:
            self._now, self._next = self._next, None
            for network in list(self._now.endpoints):
                self._rebuild(network)

    def abandon(self) -> None:
        """Who began is gone: what was true before stays."""
        self._next = None

    def join(self, sandbox: str, network: str, endpoint: DnsEndpoint) -> None:
        tables = self._next or self._now
        tables.endpoints.setdefault(network, {})[sandbox] = endpoint
        tables.networks_of.setdefault(sandbox, set()).add(network)
        self._rebuild(network)

    def leave(self, sandbox: str, network: str) -> None:
        """Idempotent."""
        tables = self._next or self._now
        tables.endpoints.get(network, {}).pop(sandbox, None)
        tables.networks_of.get(sandbox, set()).discard(network)
        self._rebuild(network)

    def drop(self, sandbox: str) -> None:
        """Idempotent."""
        tables = self._next or self._now
        for network in list(tables.networks_of.pop(sandbox, ())):
            tables.endpoints.get(network, {}).pop(sandbox, None)
            self._rebuild(network)

    def zone(
        self,
        network: str,
        network_name: str,
        forward: dict[str, list[str]],
        reverse: dict[str, str],
        *,
        anew: bool,
        last: bool,
    ) -> None:
        """Change a cluster's names on a network, in as many calls as it takes: questions are
        answered from what was true before until the ``last``.

        Args:
            forward: name -> addresses, none: the name is gone.
            reverse: address -> name, empty: the name is gone.
            anew: forget what is there; on the first call.
        """
        tables = self._next or self._now
        coming = tables.arriving.get(network)
        if coming is None or anew:
            coming = _ClusterZone("." + network_name.lower())
            known = tables.cluster.get(network)
            if known is not None and not anew:
                coming.forward, coming.reverse = dict(known.forward), dict(known.reverse)
            tables.arriving[network] = coming
        for name, addresses in forward.items():
            if addresses:
                coming.forward[name] = tuple(addresses)
            else:
                coming.forward.pop(name, None)
        for address, name in reverse.items():
            pointer = message.reverse_name(address)
            if name:
                coming.reverse[pointer] = f"{name}.{network_name}"
            else:
                coming.reverse.pop(pointer, None)
        if last:
            tables.cluster[network] = tables.arriving.pop(network)

    def unzone(self, network: str) -> None:
        """Idempotent."""
        tables = self._next or self._now
        tables.cluster.pop(network, None)
        tables.arriving.pop(network, None)

    def lookup(self, sandbox: str, name: str) -> tuple[str, ...]:
        """Addresses of ``name`` as this sandbox sees it; empty: it is not one of ours."""
        found: list[str] = []
        for network in sorted(self._now.networks_of.get(sandbox, ())):
            zone = self._now.zones[network]
            cluster = self._now.cluster.get(network)
            found += (cluster.lookup(name) if cluster else ()) or zone.forward.get(name, ())
            for target, alias in self._now.endpoints[network][sandbox].links:
                if alias.lower() == name:
                    found += zone.forward.get(target.lower(), ())
        return tuple(dict.fromkeys(found))

    def reverse(self, sandbox: str, name: str) -> str:
        for network in self._now.networks_of.get(sandbox, ()):
            cluster = self._now.cluster.get(network)
            if cluster and (told := cluster.reverse.get(name)):
                return told
            if told := self._now.zones[network].reverse.get(name):
                return told
        return ""

    def answers(self, sandbox: str, query: Query, *, stream: bool) -> cycle[bytes] | None:
        """Every answer in turn, ids aside (from the third byte on); None: not ours to answer."""
        if query.klass != message.IN:
            return None
        if query.type == message.PTR:
            told = self.reverse(sandbox, query.name)
            if not told:
                return None
            data = message.write_name(told)
            whole = message.answer(
                query, message.NOERROR, [(message.PTR, data)], TTL_S, stream=stream
            )
            return cycle((whole[2:],))
        addresses = self.lookup(sandbox, query.name)
        if not addresses:
            return None
        records = [message.address_record(text) for text in addresses]
        wanted = [r for r in records if query.type in (r[0], message.ANY)]
        turns = [wanted[i:] + wanted[:i] for i in range(len(wanted))] or [[]]
        return cycle(
            tuple(
                message.answer(query, message.NOERROR, turn, TTL_S, stream=stream)[2:]
                for turn in turns
            )
        )

    def _rebuild(self, network: str) -> None:
        if self._next is not None:
            return
        tables = self._now
        members = tables.endpoints.get(network)
        if not members:
            tables.endpoints.pop(network, None)
            tables.zones.pop(network, None)
            return
        forward: dict[str, tuple[str, ...]] = {}
        reverse: dict[str, str] = {}
        for endpoint in members.values():
            spellings = dict.fromkeys(name.lower() for name in endpoint.names)
            for name in list(spellings):
                spellings[f"{name}.{endpoint.network_name.lower()}"] = None
            for name in spellings:
                forward[name] = forward.get(name, ()) + endpoint.addresses
            for address in endpoint.addresses:
                if endpoint.names:
                    told = f"{endpoint.names[0]}.{endpoint.network_name}"
                    reverse[message.reverse_name(address)] = told
        tables.zones[network] = _Zone(forward, reverse)
