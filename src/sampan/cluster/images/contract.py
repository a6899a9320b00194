"""Where a task's image comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from sampan.cluster.peer.address import host_of


@dataclass(frozen=True, slots=True)
class PeerSource:
    """A node that may have the image."""

    node_id: str
    address: str
    """ADDRESS:PORT of its peer server."""
    name: str = ""
    """Its host name, for people."""

    @property
    def shown(self) -> str:
        return self.name or host_of(self.address) or self.node_id


class TaskImages(Protocol):
    async def provide(
        self,
        reference: str,
        *,
        auth: str = "",
        sources: Callable[[], Sequence[PeerSource]] = tuple,
        progress: Callable[[str], None] = lambda _: None,
    ) -> str:
        """Make ``reference`` (``name[:tag][@digest]``) present on this node and return its image
        id: already here, from its registry (with ``auth``, the API's X-Registry-Auth), or from any
        of ``sources``. Transfers of one layer are shared by everyone who waits for it.

        Raises:
            NoSuchImage: nobody has it; the sentence says who was asked.
            Unavailable: who has it does not answer now, or broke off: try again.
            Exhausted: the disk is full.
        """
        ...
