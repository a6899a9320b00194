"""The kernel as an argument: what the network needs of Linux, in one value.

    Linux ─┬─ netlink   links, addresses, routes, neighbours, forwarding entries
           ├─ nft       rules, sets, maps
           ├─ netns     namespaces, and work inside them
           ├─ sysctl    parameters
           └─ index_of  an interface's number

``HOST`` is the real one, and only the daemon's composition root says so. Tests pass
``sampan.testing.linux.FakeLinux``, which keeps the same as plain data, fails with the same error
numbers, and passes the same contract suites. Whatever a driver of the network does can so be driven
without root, on a kernel that lacks the feature, and with a failure at any of its calls.

The seam is at the messages: a netlink request is a value, made by functions that both share, so the
fake reads what the kernel would read. Sockets, contexts and numbers belong to the namespace that
their thread was in when they were made, with both.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sampan.kernel import netns, sysctl
from sampan.kernel.netlink import Netlink, Rtnetlink, index_of
from sampan.kernel.nft import Nft

T = TypeVar("T")


class OpensNetlink(Protocol):
    def __call__(self, protocol: int = socket.NETLINK_ROUTE) -> Rtnetlink:
        """A socket in the thread's network namespace. Raises OSError."""
        ...


class Nftables(Protocol):
    """An nftables context, of the namespace that its thread was in when it was made; for one
    thread at a time. See ``kernel.nft.Nft``."""

    def run(self, command: str) -> str:
        """Apply ``command`` whole or not at all; return what it printed. Raises NftError."""
        ...

    def query(self, command: str) -> list[dict[str, Any]]:
        """The objects that a ``list`` command tells of. Raises NftError."""
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Nftables: ...
    def __exit__(self, *_: object) -> None: ...


class Namespaces(Protocol):
    """Network namespaces that are kept as files. See ``kernel.netns``."""

    def create(self, path: Path, inside: Callable[[], T]) -> T:
        """Make one, run ``inside`` in it, keep it at ``path``; on failure nothing is left. Raises
        OSError: EEXIST."""
        ...

    def run_inside(self, path: Path, fn: Callable[[], T]) -> T:
        """Raises OSError: ENOENT, EINVAL; and what ``fn`` raises."""
        ...

    def delete(self, path: Path) -> None:
        """Idempotent."""
        ...

    def kept(self, path: Path) -> bool: ...

    def opened(self, path: Path) -> AbstractContextManager[int]:
        """A descriptor of it, for netlink messages. Raises OSError: ENOENT."""
        ...


class Sysctl(Protocol):
    """Parameters of the thread's namespace. See ``kernel.sysctl``."""

    def read(self, name: str) -> str:
        """Raises OSError: ENOENT."""
        ...

    def write(self, name: str, value: str) -> None:
        """Raises OSError: ENOENT."""
        ...

    def ensure(self, name: str, value: str) -> bool:
        """Write what is not so already; whether it was written. Raises OSError: ENOENT."""
        ...


@dataclass(frozen=True, slots=True)
class Linux:
    """What a subsystem may do to the kernel. Everything blocks; nothing here is for the loop."""

    netlink: OpensNetlink
    nft: Callable[[], Nftables]
    """Raises Unsupported: the library is missing."""
    netns: Namespaces
    sysctl: Sysctl
    index_of: Callable[[str], int]
    """Index of a link in the thread's namespace, 0 if there is none."""


HOST = Linux(netlink=Netlink, nft=Nft, netns=netns, sysctl=sysctl, index_of=index_of)
"""The machine's own kernel."""
