"""One network as the nodes on it are told of it, with the order in which it changed.

A node that has seen change number 17 asks for what came after. Most nodes have seen the same, so
the answer is encoded once and sent to all of them: with a hundred nodes on one network, a task's
start costs one encoding and a hundred sends, not a hundred comparisons.
"""

from __future__ import annotations

from collections import deque

import msgspec

from sampan.cluster.protocol.messages import NetworkDelta, encode
from sampan.network.overlay.contract import OverlayMember, OverlayNetwork, ServiceEntry

LOG_LIMIT = 2048
"""Changes kept; who is further behind gets the whole network."""


class NetworkTable:
    def __init__(self, id: str) -> None:
        self.id = id
        self.header: OverlayNetwork | None = None
        """The network without members and services; None: it is not (or not yet) allocated."""
        self.members: dict[str, OverlayMember] = {}
        self.services: dict[str, ServiceEntry] = {}
        self.seq = 0
        self._since_header = 0
        self._log: deque[tuple[int, bool, str]] = deque(maxlen=LOG_LIMIT)
        """(number, of a service, id)."""
        self._cached: tuple[int, int, msgspec.Raw] = (-1, -1, msgspec.Raw(b""))

    def set_header(self, header: OverlayNetwork | None) -> bool:
        """Whether that changed anything."""
        if header == self.header:
            return False
        self.header = header
        self.seq += 1
        self._since_header = self.seq
        return True

    def set_member(self, task_id: str, member: OverlayMember | None) -> bool:
        if self.members.get(task_id) == member:
            return False
        if member is None:
            del self.members[task_id]
        else:
            self.members[task_id] = member
        self._changed(False, task_id)
        return True

    def set_service(self, service_id: str, entry: ServiceEntry | None) -> bool:
        if self.services.get(service_id) == entry:
            return False
        if entry is None:
            del self.services[service_id]
        else:
            self.services[service_id] = entry
        self._changed(True, service_id)
        return True

    @property
    def empty(self) -> bool:
        return self.header is None and not self.members and not self.services

    def _changed(self, service: bool, id: str) -> None:
        self.seq += 1
        self._log.append((self.seq, service, id))

    def since(self, seen: int) -> msgspec.Raw:
        """An encoded ``NetworkDelta`` that leads from change ``seen`` (-1: nothing) to now."""
        if self._cached[:2] != (seen, self.seq):
            self._cached = (seen, self.seq, msgspec.Raw(encode(self._delta(seen))))
        return self._cached[2]

    def _delta(self, seen: int) -> NetworkDelta:
        oldest = self._log[0][0] - 1 if self._log else self._since_header
        if seen < 0 or seen < self._since_header or seen < oldest:
            assert self.header is not None
            full = msgspec.structs.replace(
                self.header,
                members=tuple(self.members.values()),
                services=tuple(self.services.values()),
            )
            return NetworkDelta(id=self.id, full=full)
        members, services = set[str](), set[str]()
        for number, service, id in reversed(self._log):
            if number <= seen:
                break
            (services if service else members).add(id)
        return NetworkDelta(
            id=self.id,
            members=tuple(self.members[id] for id in sorted(members) if id in self.members),
            members_gone=tuple(id for id in sorted(members) if id not in self.members),
            services=tuple(self.services[id] for id in sorted(services) if id in self.services),
            services_gone=tuple(id for id in sorted(services) if id not in self.services),
        )
