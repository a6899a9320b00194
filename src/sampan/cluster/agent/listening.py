"""Whether something in a container listens on a port. Pure but for reading /proc."""

from __future__ import annotations

from collections.abc import Iterable

_LISTEN = b"0A"


def all_listening(pid: int, ports: Iterable[tuple[str, int]]) -> bool:
    """Every (protocol, port) has a socket in the network namespace of ``pid``. What cannot be
    looked up (sctp, a process that is gone) counts as there: nobody should wait for it."""
    wanted: dict[str, set[int]] = {}
    for protocol, port in ports:
        if protocol in ("tcp", "udp"):
            wanted.setdefault(protocol, set()).add(port)
    return all(needed <= _ports(pid, protocol) for protocol, needed in wanted.items()) or not _is(
        pid
    )


def _ports(pid: int, protocol: str) -> set[int]:
    found = set[int]()
    for family in ("", "6"):
        try:
            with open(f"/proc/{pid}/net/{protocol}{family}", "rb") as file:
                found |= parse_sockets(file.read(), listening_only=protocol == "tcp")
        except OSError:
            continue
    return found


def parse_sockets(table: bytes, *, listening_only: bool) -> set[int]:
    """Local ports of a /proc/net/tcp-like table."""
    found = set[int]()
    for line in table.splitlines()[1:]:
        fields = line.split(maxsplit=4)
        if len(fields) > 3 and (not listening_only or fields[3] == _LISTEN):
            found.add(int(fields[1].rpartition(b":")[2], 16))
    return found


def _is(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/net/dev", "rb"):
            return True
    except OSError:
        return False
