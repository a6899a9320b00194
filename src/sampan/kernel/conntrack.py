"""Connections that the kernel tracks in the thread's network namespace: forget some of them.

The kernel picks the entries (a filter in the request, Linux 5.8), so what comes up to us is only
what goes; but it walks the table of the whole machine for it, a millisecond or two.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from sampan.kernel.linux import Sysctl
from sampan.kernel.netlink import Message, Rtnetlink, attribute, attributes, nested

NETLINK_NETFILTER = 12
_CT_GET, _CT_DELETE = 0x101, 0x102
_TUPLE_ORIG, _TUPLE_REPLY, _STATUS, _ID, _ZONE, _FILTER = 1, 2, 3, 12, 18, 25
_FILTER_ORIG_FLAGS, _FILTER_REPLY_FLAGS = 1, 2
_BY_IP_SRC, _BY_PROTO, _BY_DST_PORT = 1, 8, 32
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SRC = 1
_PROTO_NUM, _DST_PORT = 1, 3
_SEEN_REPLY, _DST_NAT = 1 << 1, 1 << 5
_NFGEN = struct.pack("!BBH", socket.AF_INET, 0, 0)


@dataclass(frozen=True, slots=True)
class Flow:
    """One tracked connection, IPv4."""

    protocol: int
    replied: bool
    """An answer has been seen."""
    translated: bool
    """Its destination was rewritten."""
    leads_to: str
    """Address that its packets go to, after translation."""
    key: bytes
    """Which one it is; another from the same client's port that leads elsewhere is another."""


def tracked(sysctl: Sysctl) -> int:
    """How many connections the namespace has; 0 also where nothing is tracked."""
    try:
        return int(sysctl.read("net.netfilter.nf_conntrack_count"))
    except FileNotFoundError:
        return 0


def forget(link: Rtnetlink, which: Callable[[Flow], bool]) -> int:
    """Forget flows, after a look at all of the namespace. Otherwise as ``forget_answered_by``."""
    return _forget(link, b"", which)


def forget_answered_by(link: Rtnetlink, address: str, which: Callable[[Flow], bool]) -> int:
    """Forget those flows whose packets go (after translation) to ``address``.

    Args:
        link: a netfilter socket.

    Returns how many.

    Raises:
        OSError
    """
    source = nested(_TUPLE_IP, attribute(_IP_SRC, socket.inet_aton(address)))
    flags = attribute(_FILTER_REPLY_FLAGS, struct.pack("=I", _BY_IP_SRC))
    return _forget(link, nested(_TUPLE_REPLY, source) + nested(_FILTER, flags), which)


def forget_asking_for(
    link: Rtnetlink, protocol: int, port: int, which: Callable[[Flow], bool]
) -> int:
    """Forget those flows that were begun to ``port``. Raises OSError."""
    inside = nested(
        _TUPLE_PROTO,
        attribute(_PROTO_NUM, bytes([protocol])),
        attribute(_DST_PORT, struct.pack("!H", port)),
    )
    flags = attribute(_FILTER_ORIG_FLAGS, struct.pack("=I", _BY_PROTO | _BY_DST_PORT))
    return _forget(link, nested(_TUPLE_ORIG, inside) + nested(_FILTER, flags), which)


def _forget(link: Rtnetlink, wanted: bytes, which: Callable[[Flow], bool]) -> int:
    found = [_flow(body) for body in link.dump(_CT_GET, _NFGEN + wanted)]
    going: list[Message] = [(_CT_DELETE, 0, _NFGEN + f.key) for f in found if which(f)]
    for start in range(0, len(going), 64):
        for outcome in link.request(*going[start : start + 64]):
            if outcome is not None and outcome.errno != errno.ENOENT:
                raise outcome
    return len(going)


def _flow(body: bytes) -> Flow:
    values = attributes(body, len(_NFGEN))
    protocol = attributes(attributes(values[_TUPLE_ORIG])[_TUPLE_PROTO])[_PROTO_NUM][0]
    status = struct.unpack("!I", values[_STATUS])[0]
    # By its answers, which name the one that it leads to: since we looked, a client that uses its
    # port again may have put another connection in its place, with the same beginning, and with the
    # same id where it has come to lie at the same place in the kernel's memory.
    key = nested(_TUPLE_REPLY, values[_TUPLE_REPLY])
    for kind in (_ID, _ZONE):
        if kind in values:
            key += attribute(kind, values[kind])
    source = attributes(attributes(values[_TUPLE_REPLY])[_TUPLE_IP])[_IP_SRC]
    return Flow(
        protocol,
        bool(status & _SEEN_REPLY),
        bool(status & _DST_NAT),
        socket.inet_ntoa(source),
        key,
    )
