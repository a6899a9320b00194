"""The process that answers 127.0.0.11 in every container of one daemon.

One thread, one epoll, plain sockets: a hot answer is a look-up between two system calls. The
daemon tells it over a unix socket (a packet a message, JSON, descriptors along) what to serve; it
goes on with what it knows when the daemon is gone.

    from the daemon                             to the daemon
    serve   sandbox, servers + 2 descriptors    serving  sandbox (one each, upon connection)
    close   sandbox                             ready
    join    sandbox, network, what it is called
    leave   sandbox, network
    zone    network, the cluster's names on it: changes, heeded when the last packet of them is here
    unzone  network
    begin ... commit   the whole truth, at once
    bye     the daemon stops: end when no sandbox is left
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from itertools import cycle
from typing import cast

from sampan.network.dns import message
from sampan.network.dns.forward import Forwarder, Reply
from sampan.network.dns.streams import Streams
from sampan.network.dns.table import DnsEndpoint, DnsTable

BURST = 64
"""Datagrams taken from one sandbox before the others have their turn."""
HOT_LIMIT = 4096


class Sandbox:
    """One container's two sockets, and its answers so far."""

    def __init__(
        self, name: str, udp: socket.socket, tcp: socket.socket, servers: Iterable[str]
    ) -> None:
        self.name, self.udp, self.tcp = name, udp, tcp
        self.servers = tuple(servers)
        self.hot: dict[bytes, cycle[bytes]] = {}
        """A question without its id -> its answers without theirs, in turn."""


class DnsServer:
    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._daemon: socket.socket | None = None
        self._epoll = select.epoll()
        self._table = DnsTable()
        self._forwarder = Forwarder(self._epoll)
        self._streams = Streams(self._epoll)
        self._sandboxes: dict[str, Sandbox] = {}
        self._udp: dict[int, Sandbox] = {}
        self._tcp: dict[int, Sandbox] = {}
        self._leaving = False
        self._epoll.register(control, select.EPOLLIN)

    def run(self) -> None:
        """Until the daemon has said bye and no sandbox is left."""
        while not (self._leaving and not self._sandboxes):
            waits = [w for w in (self._forwarder.tick(), self._streams.tick()) if w >= 0]
            ready = self._epoll.poll(min(waits, default=-1))
            # What the daemon said comes first: a name that it has been told is known to every
            # question that can have been asked since.
            if self._daemon is not None:
                self._hear()
            for descriptor, events in ready:
                self._attend(descriptor, events)

    def _attend(self, descriptor: int, events: int) -> None:
        if (sandbox := self._udp.get(descriptor)) is not None:
            self._datagrams(sandbox)
        elif self._forwarder.owns(descriptor):
            self._forwarder.ready(descriptor, events)
        elif self._streams.owns(descriptor):
            self._streams.ready(descriptor, events)
        elif (sandbox := self._tcp.get(descriptor)) is not None:
            self._streams.accept(sandbox.tcp, sandbox.name, self._asker(sandbox))
        elif descriptor == self._control.fileno():
            self._welcome()

    # -- the daemon

    def _welcome(self) -> None:
        try:
            daemon, _ = self._control.accept()
        except OSError:
            return
        self._farewell()
        # Blocking: a queue of ten packets is all that the kernel gives, and the daemon reads.
        daemon.settimeout(5.0)
        try:
            for name in self._sandboxes:
                daemon.send(json.dumps({"op": "serving", "sandbox": name}).encode())
            daemon.send(b'{"op": "ready"}')
        except OSError:
            daemon.close()
            return
        daemon.setblocking(False)
        self._daemon = daemon
        self._leaving = False
        self._epoll.register(daemon, select.EPOLLIN)

    def _farewell(self) -> None:
        if self._daemon is not None:
            self._daemon.close()
            self._daemon = None
            self._table.abandon()

    def _hear(self) -> None:
        changed = False
        while self._daemon is not None:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._daemon, 1 << 18, 2)
            except BlockingIOError:
                break
            except OSError:
                data, descriptors = b"", []
            if not data:
                # Killed or stopped: the containers run on, and so do we.
                self._farewell()
                break
            self._obey(json.loads(data), descriptors)
            changed = True
        if changed:
            for sandbox in self._sandboxes.values():
                sandbox.hot = {}

    def _obey(self, order: dict[str, object], descriptors: list[int]) -> None:
        match order:
            case {"op": "serve", "sandbox": str(name), "servers": list(servers)}:
                udp, tcp = (socket.socket(fileno=d) for d in descriptors)
                self._close(name)
                self._serve(Sandbox(name, udp, tcp, servers))
            case {"op": "close", "sandbox": str(name)}:
                self._close(name)
                self._table.drop(name)
            case {"op": "join", "sandbox": str(name), "network": str(network), "endpoint": list(e)}:
                addresses, names, network_name, links = e
                endpoint = DnsEndpoint(
                    tuple(addresses), tuple(names), network_name, tuple((n, a) for n, a in links)
                )
                self._table.join(name, network, endpoint)
            case {"op": "leave", "sandbox": str(name), "network": str(network)}:
                self._table.leave(name, network)
            case {"op": "zone", "network": str(network), "forward": dict(forward)}:
                self._table.zone(
                    network,
                    str(order["name"]),
                    forward,
                    cast(dict[str, str], order["reverse"]),
                    anew=bool(order["anew"]),
                    last=bool(order["last"]),
                )
            case {"op": "unzone", "network": str(network)}:
                self._table.unzone(network)
            case {"op": "begin"}:
                self._table.begin()
            case {"op": "commit"}:
                self._table.commit()
            case {"op": "bye"}:
                self._leaving = True

    def _serve(self, sandbox: Sandbox) -> None:
        sandbox.udp.setblocking(False)
        sandbox.tcp.setblocking(False)
        self._sandboxes[sandbox.name] = sandbox
        self._udp[sandbox.udp.fileno()] = sandbox
        self._tcp[sandbox.tcp.fileno()] = sandbox
        self._epoll.register(sandbox.udp, select.EPOLLIN)
        self._epoll.register(sandbox.tcp, select.EPOLLIN)

    def _close(self, name: str) -> None:
        sandbox = self._sandboxes.pop(name, None)
        if sandbox is None:
            return
        self._streams.drop(name)
        for registered, sock in ((self._udp, sandbox.udp), (self._tcp, sandbox.tcp)):
            del registered[sock.fileno()]
            # The daemon's duplicate may still be open for a moment, and would keep it polled.
            self._epoll.unregister(sock)
            sock.close()

    # -- questions

    def _datagrams(self, sandbox: Sandbox) -> None:
        receive, send = sandbox.udp.recvfrom, sandbox.udp.sendto
        for _ in range(BURST):
            try:
                packet, peer = receive(4096)
            except OSError:
                return
            turns = sandbox.hot.get(packet[2:])
            if turns is None:
                self._question(sandbox, packet, _to(sandbox.udp, peer), stream=False)
                continue
            try:
                send(packet[:2] + next(turns), peer)
            except OSError:
                continue

    def _asker(self, sandbox: Sandbox) -> Callable[[bytes, Reply], None]:
        return lambda packet, reply: self._question(sandbox, packet, reply, stream=True)

    def _question(self, sandbox: Sandbox, packet: bytes, reply: Reply, *, stream: bool) -> None:
        if len(packet) < 12 or packet[2] & 0x80:
            return
        try:
            query = message.parse_query(packet)
        except message.Malformed:
            reply(message.refusal(packet, message.FORMERR))
            return
        if query.flags & message.OPCODE:
            reply(message.refusal(packet, message.NOTIMP))
            return
        if self._daemon is not None:
            # Who asks may have been answered a moment ago, in this very burst, and have been named
            # since.
            self._hear()
        turns = self._table.answers(sandbox.name, query, stream=stream)
        if turns is None:
            self._forwarder.ask(packet, sandbox.servers, stream, reply)
            return
        if not stream:
            if len(sandbox.hot) >= HOT_LIMIT:
                sandbox.hot = {}
            sandbox.hot[packet[2:]] = turns
        reply(packet[:2] + next(turns))


def _to(sock: socket.socket, peer: tuple[str, int]) -> Reply:
    def reply(response: bytes) -> None:
        # The sandbox may be gone, or its queue full, by the time the outside has answered.
        with contextlib.suppress(OSError):
            sock.sendto(response, peer)

    return reply


def main(path: str) -> None:
    """Bind the control socket, then go into the background: that our first process has ended is
    how the daemon knows that it can connect."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    old = os.umask(0o077)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    control.bind(path)
    os.umask(old)
    control.listen(8)
    mine = os.stat(path).st_ino
    if os.fork():
        os._exit(0)
    os.setsid()
    # Ours is to end when told over the socket; a terminal's ^C is for the daemon.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    DnsServer(control).run()
    with contextlib.suppress(OSError):
        if os.stat(path).st_ino == mine:
            os.unlink(path)


if __name__ == "__main__":
    main(sys.argv[1])
