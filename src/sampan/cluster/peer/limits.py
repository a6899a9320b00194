"""What unknown peers may cost: how many connections, and how many handshakes a second, per address.

A handshake is the dearest thing that somebody unknown can make this node do (1.3 ms of the
event loop), so arrivals are turned away before it. Nodes are counted apart once they are known.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    unknown_per_address: int = 128
    """Connections without a certificate, handshakes under way included. Joining takes two; a node
    that comes back may open many at once, which all begin as unknown."""
    unknown_peers: int = 512
    """The same, from everywhere. Addresses that nodes have come from are exempt: however many
    unknown peers there are, a node can come back."""
    members_per_address: int = 1024
    """Connections of nodes behind one address: sessions, image pulls, logs."""
    handshakes_per_s: float = 50.0
    """Per address, in the long run: a node keeps its connections, so it needs few. 50 cost less
    than a tenth of a core."""
    burst: int = 200
    """Handshakes at once, per address: so many nodes behind one may come back together."""
    handshake_s: float = 5.0
    unknown_s: float = 30.0
    """How long a connection without a certificate may live, whatever it does."""


@dataclass(slots=True)
class _Address:
    tokens: float
    at: float
    unknown_peers: int = 0
    members: int = 0
    familiar: bool = False
    """A node has come from here."""


@dataclass(slots=True)
class Gate:
    """Counts. Pure: the caller says when it is."""

    limits: Limits = field(default_factory=Limits)
    unknown_peers: int = 0
    turned_away: int = 0
    """Connections closed unheard, ever."""
    _by: dict[str, _Address] = field(default_factory=dict)
    _sweep_at: int = 1024

    def arrive(self, address: str, now: float) -> bool:
        """A connection was accepted: may it shake hands? If so, it counts as an unknown peer's."""
        found = self._by.get(address)
        if found is None:
            if len(self._by) >= self._sweep_at:
                self._sweep(now)
            found = self._by[address] = _Address(self.limits.burst, now)
        self._refill(found, now)
        if (
            found.tokens < 1
            or found.unknown_peers >= self.limits.unknown_per_address
            or (self.unknown_peers >= self.limits.unknown_peers and not found.familiar)
        ):
            self.turned_away += 1
            return False
        found.tokens -= 1
        found.unknown_peers += 1
        self.unknown_peers += 1
        return True

    def recognise(self, address: str) -> bool:
        """An unknown peer proved to be a node: count it so. False: that address has too many."""
        found = self._by[address]
        if found.members >= self.limits.members_per_address:
            self.turned_away += 1
            return False
        self._forget_unknown(found)
        found.members += 1
        found.familiar = True
        return True

    def leave(self, address: str, *, member: bool) -> None:
        """A connection ended."""
        found = self._by[address]
        if member:
            found.members -= 1
        else:
            self._forget_unknown(found)

    def _forget_unknown(self, found: _Address) -> None:
        found.unknown_peers -= 1
        self.unknown_peers -= 1

    def _refill(self, found: _Address, now: float) -> None:
        gained = (now - found.at) * self.limits.handshakes_per_s
        found.tokens, found.at = min(self.limits.burst, found.tokens + gained), now

    def _sweep(self, now: float) -> None:
        """Forget who has nothing open and a full bucket: a flood of addresses is not remembered."""
        for address, found in list(self._by.items()):
            self._refill(found, now)
            idle = not found.unknown_peers and not found.members and not found.familiar
            if idle and found.tokens >= self.limits.burst:
                del self._by[address]
        self._sweep_at = max(1024, 2 * len(self._by))
