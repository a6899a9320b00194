"""Whether something in a container listens on a port, and has taken what came to it. Pure but for
reading /proc, which is called in a thread."""

from __future__ import annotations

from collections.abc import Iterable

_ESTABLISHED, _SYN_RECEIVED, _LISTEN = b"01", b"03", b"0A"


def all_listening(pid: int, ports: Iterable[tuple[str, int]]) -> bool:
    """Every (protocol, port) has a socket in the network namespace of ``pid``. What cannot be
    looked up (sctp, a process that is gone) counts as there: nobody should wait for it. Blocks."""
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


def any_waiting(pid: int) -> bool:
    """Something that came to a TCP port of the network namespace of ``pid`` has not been accepted
    or read yet, or its answer has not been sent yet. Blocks."""
    table = b""
    for family in ("", "6"):
        try:
            with open(f"/proc/{pid}/net/tcp{family}", "rb") as file:
                table += file.read()
        except OSError:
            continue
    return parse_waiting(table)


def parse_waiting(table: bytes) -> bool:
    """The same of a /proc/net/tcp-like table, or several."""
    listening, busy = set[bytes](), set[bytes]()
    for line in table.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 5 or fields[0] == b"sl":
            continue
        port, state = fields[1].rpartition(b":")[2], fields[3]
        to_send, _, to_take = fields[4].partition(b":")
        if state == _LISTEN:
            listening.add(port)
            if int(to_take, 16):  # connections that nobody has accepted
                return True
        elif state == _SYN_RECEIVED or (
            state == _ESTABLISHED and (int(to_take, 16) or int(to_send, 16))
        ):
            busy.add(port)
    # what the task itself has begun elsewhere is its own business
    return not listening.isdisjoint(busy)


def _is(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/net/dev", "rb"):
            return True
    except OSError:
        return False
