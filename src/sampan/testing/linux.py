"""A kernel in memory: what ``sampan.kernel.linux.Linux`` asks for, kept as plain data.

    FakeLinux ── home Space, and one for each namespace that is kept as a file
    Space     ── links, addresses, routes, neighbours, forwarding entries, rules, tables, parameters

It reads the very messages and commands that the real one gets, and fails with the same errors; the
contract suites ``sampan.testing.contracts.netlink`` and ``nft`` hold it to that. No packet travels.

``features`` says what this kernel has: leave a kind of link out and making one is EOPNOTSUPP, leave
``nftables`` out and the library is missing. ``faults`` (``sampan.testing.faults.Faults``) counts
every call and fails one of them, as a kernel without memory does.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sampan.errors import Unsupported
from sampan.kernel.linux import Linux, Nftables
from sampan.kernel.netlink import Rtnetlink
from sampan.kernel.sysctl import path_of
from sampan.testing.faults import Faults, Injected
from sampan.testing.linux_netlink import FakeNetlink
from sampan.testing.linux_nftables import FakeNft
from sampan.testing.linux_state import Space

T = TypeVar("T")

LINKS = frozenset({"bridge", "dummy", "ipvlan", "macvlan", "veth", "vlan", "vxlan", "wireguard"})
FEATURES = LINKS | {"ipv6", "nftables"}
"""What a kernel can have."""
_PARAMETERS = {
    "net/core/somaxconn": "4096",
    "net/ipv4/fwmark_reflect": "0",
    "net/ipv4/ip_forward": "0",
    "net/ipv4/ip_unprivileged_port_start": "1024",
    "net/ipv4/ping_group_range": "1 0",
    "net/ipv4/tcp_fwmark_accept": "0",
    "net/ipv6/conf/all/forwarding": "0",
    "net/netfilter/nf_conntrack_count": "0",
}
_OF_INTERFACES = {
    "ipv4": {"forwarding": "0", "route_localnet": "0", "rp_filter": "0", "proxy_arp": "0"},
    "ipv6": {"accept_ra": "1", "disable_ipv6": "0", "forwarding": "0"},
}


@dataclass
class _Kept:
    """What descriptors of namespaces stand for."""

    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1000))
    open: dict[int, Space] = field(default_factory=dict)


class FakeLinux:
    """``linux`` is what to pass; ``home`` and ``spaces`` are there to look at."""

    def __init__(self, features: Iterable[str] = FEATURES, faults: Faults | None = None) -> None:
        self.features = frozenset(features)
        self.faults = faults or Faults()
        self.home = Space("home")
        self.spaces: dict[Path, Space] = {}
        self._descriptors = _Kept()
        self._here = threading.local()
        self._lock = threading.RLock()
        """The kernel's own: calls come from several threads."""
        self.linux = Linux(
            netlink=self._netlink,
            nft=self._nft,
            netns=_FakeNamespaces(self),
            sysctl=_FakeSysctl(self),
            index_of=self._index_of,
        )

    @property
    def here(self) -> Space:
        """The calling thread's namespace."""
        found: Space = getattr(self._here, "space", self.home)
        return found

    def space(self, path: Path) -> Space:
        """The namespace that is kept at ``path``. Raises FileNotFoundError."""
        found = self.spaces.get(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found

    def step(self, what: str) -> None:
        """One call of the kernel. Raises OSError, if it is the one to fail."""
        try:
            self.faults.step(what)
        except Injected:
            raise OSError(errno.ENOMEM, f"injected at {what}") from None

    @contextlib.contextmanager
    def inside(self, space: Space) -> Iterator[None]:
        before = self.here
        self._here.space = space
        try:
            yield
        finally:
            self._here.space = before

    def _index_of(self, name: str) -> int:
        return self.here.index_of(name)

    def _netlink(self, protocol: int = 0) -> Rtnetlink:
        self.step("open netlink")
        return FakeNetlink(self.here, protocol, self.features, self._descriptors.open, self._gate)

    def _nft(self) -> Nftables:
        if "nftables" not in self.features:
            raise Unsupported("libnftables is missing: install it")
        self.step("open nft")
        return FakeNft(self.here, self._gate)

    @contextlib.contextmanager
    def _gate(self, what: str) -> Iterator[None]:
        self.step(what)
        with self._lock:
            yield


class _FakeNamespaces:
    def __init__(self, kernel: FakeLinux) -> None:
        self._kernel = kernel

    def create(self, path: Path, inside: Callable[[], T]) -> T:
        self._kernel.step("unshare")
        space = Space(path.name)
        with self._kernel.inside(space):
            result = inside()
            self._kernel.step("keep a namespace")
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
            self._kernel.spaces[path] = space
        return result

    def run_inside(self, path: Path, fn: Callable[[], T]) -> T:
        space = self._kernel.space(path)
        self._kernel.step("setns")
        with self._kernel.inside(space):
            return fn()

    def delete(self, path: Path) -> None:
        self._kernel.step("delete a namespace")
        space = self._kernel.spaces.pop(path, None)
        path.unlink(missing_ok=True)
        if space is not None:
            for index in list(space.links):
                space.drop_link(index)

    def kept(self, path: Path) -> bool:
        return path in self._kernel.spaces

    @contextlib.contextmanager
    def opened(self, path: Path) -> Iterator[int]:
        space = self._kernel.space(path)
        self._kernel.step("open a namespace")
        kept = self._kernel._descriptors
        number = next(kept.numbers)
        kept.open[number] = space
        try:
            yield number
        finally:
            del kept.open[number]


class _FakeSysctl:
    def __init__(self, kernel: FakeLinux) -> None:
        self._kernel = kernel

    def read(self, name: str) -> str:
        self._kernel.step(f"read {name}")
        return self._value(self._key(name))

    def write(self, name: str, value: str) -> None:
        self._kernel.step(f"write {name}")
        key = self._key(name)
        self._value(key)
        self._kernel.here.sysctls[key] = value

    def ensure(self, name: str, value: str) -> bool:
        if self.read(name) == value:
            return False
        self.write(name, value)
        return True

    def _key(self, name: str) -> str:
        return str(path_of(name).relative_to("/proc/sys"))

    def _value(self, key: str) -> str:
        """Raises FileNotFoundError: there is no such parameter."""
        space, parts = self._kernel.here, key.split("/")
        missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), f"/proc/sys/{key}")
        if parts[:2] == ["net", "ipv6"] and "ipv6" not in self._kernel.features:
            raise missing
        if len(parts) == 5 and parts[2] == "conf":
            family, interface, name = parts[1], parts[3], parts[4]
            known = _OF_INTERFACES.get(family, {})
            if name not in known:
                raise missing
            if interface not in ("all", "default") and not space.index_of(interface):
                raise missing
            default = f"net/{family}/conf/default/{name}"
            return space.sysctls.get(key, space.sysctls.get(default, known[name]))
        if key not in _PARAMETERS:
            raise missing
        return space.sysctls.get(key, _PARAMETERS[key])
