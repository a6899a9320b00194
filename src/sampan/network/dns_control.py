"""The daemon's side of the embedded DNS: keeps the truth, keeps the server told and alive.

The server is started when the first sandbox needs it. Whichever of the two is killed, the other
goes on, and this class brings both together again: it connects (starting the server if there is
none), learns which sandboxes are served, sends everything, and gives sockets for the sandboxes
that have lost theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence

from sampan.aio import Clock, Tasks, in_thread
from sampan.config import DaemonConfig
from sampan.errors import Unavailable
from sampan.kernel.linux import Linux
from sampan.kernel.nft import NftError
from sampan.network import etc
from sampan.network.contract import ContainerNet, Sandbox, Zone
from sampan.network.worker import NetworkWorker
from sampan.store.records import EndpointSettings

log = logging.getLogger(__name__)

_BACKOFF_S = (0.05, 0.2, 1.0, 5.0)
_START_WITHIN_S = 20.0
_NAMES_A_PACKET = 400
"""A name with ten addresses is some 200 bytes; a packet may have 200,000."""


class DnsControl:
    def __init__(
        self, config: DaemonConfig, clock: Clock, worker: NetworkWorker, tasks: Tasks
    ) -> None:
        self._config, self._clock, self._worker, self._tasks = config, clock, worker, tasks
        self._path = config.paths.state / "dns.sock"
        self._link: socket.socket | None = None
        self._outgoing: deque[tuple[bytes, tuple[int, ...]]] = deque()
        self._wanted: dict[str, tuple[Sandbox, tuple[str, ...]]] = {}
        self._served: set[str] = set()
        self._endpoints: dict[tuple[str, str], list[object]] = {}
        self._zones: dict[str, tuple[str, Zone]] = {}
        """Network id -> its name, and the cluster's names on it."""
        self._connecting = asyncio.Lock()
        self._stopping = False

    # -- what is to be served

    async def serve(self, sandbox: Sandbox, container: ContainerNet) -> None:
        """Give the sandbox its resolver, unless it has one."""
        self.expect(sandbox, container)
        if self._link is None:
            await self._connect(start=True)
        elif sandbox.container_id not in self._served:
            await self._open(sandbox.container_id)

    def expect(self, sandbox: Sandbox, container: ContainerNet) -> None:
        """It is to be served, as soon as there is someone to do it (``settle``)."""
        servers = (
            container.dns or self._config.dns or etc.forward_to(container, etc.host_resolver())
        )
        self._wanted[sandbox.container_id] = (sandbox, tuple(servers))

    async def settle(self, live: set[str]) -> None:
        """After a restart: exactly these are alive. A server that outlived the last daemon is told
        nothing before this call: it would forget, and take apart, what we do not know yet."""
        for container_id in set(self._wanted) - live:
            self.close(container_id)
        await self._connect(start=bool(self._wanted))

    def join(self, container_id: str, endpoint: EndpointSettings, names: Sequence[str]) -> None:
        links = [
            [name, alias or name] for name, _, alias in (s.partition(":") for s in endpoint.links)
        ]
        addresses = [text for text in (endpoint.ipv4, endpoint.ipv6) if text]
        order: list[object] = [addresses, list(names), endpoint.network_name, links]
        self._endpoints[container_id, endpoint.network_id] = order
        self._send(_join(container_id, endpoint.network_id, order))

    def leave(self, container_id: str, network_id: str) -> None:
        if self._endpoints.pop((container_id, network_id), None) is not None:
            self._send({"op": "leave", "sandbox": container_id, "network": network_id})

    def cluster(self, network_id: str, network_name: str, zone: Zone | None) -> None:
        """The cluster's names on a network, from now on; None: none. They come before what the
        containers on it are called."""
        known = self._zones.get(network_id)
        if zone is None:
            self._zones.pop(network_id, None)
            if known is not None:
                self._send({"op": "unzone", "network": network_id})
            return
        if known == (network_name, zone):
            return
        self._zones[network_id] = (network_name, zone)
        before = known[1] if known is not None and known[0] == network_name else None
        for order in zone_messages(network_id, network_name, before, zone):
            self._send(order)

    def cluster_networks(self) -> set[str]:
        """Networks that have names of the cluster."""
        return set(self._zones)

    def close(self, container_id: str) -> None:
        """Idempotent."""
        for key in [key for key in self._endpoints if key[0] == container_id]:
            del self._endpoints[key]
        if self._wanted.pop(container_id, None) is not None:
            self._served.discard(container_id)
            self._send({"op": "close", "sandbox": container_id})

    # -- the link

    async def stop(self) -> None:
        """The server stays while there is something to serve."""
        self._stopping = True
        if self._link is not None:
            self._send({"op": "bye"})
            self._drop()

    async def _connect(self, *, start: bool) -> None:
        """Connect, unless we are, and tell everything."""
        async with self._connecting:
            if self._link is not None:
                return
            link = await self._reach(start)
            if link is None:
                return
            self._served = await _greeting(link)
            self._link = link
            asyncio.get_running_loop().add_reader(link, self._lost)
            self._send({"op": "begin"})
            for (container_id, network_id), order in self._endpoints.items():
                self._send(_join(container_id, network_id, order))
            for network_id, (network_name, zone) in self._zones.items():
                for message in zone_messages(network_id, network_name, None, zone):
                    self._send(message)
            self._send({"op": "commit"})
            for container_id in self._served - set(self._wanted):
                self._send({"op": "close", "sandbox": container_id})
            self._served &= set(self._wanted)
            for container_id in set(self._wanted) - self._served:
                try:
                    await self._open(container_id)
                except (OSError, NftError) as error:
                    # One sandbox that is half gone must not keep the others from their names.
                    log.error("no resolver for container %.12s: %s", container_id, error)

    async def _reach(self, start: bool) -> socket.socket | None:
        link = _try(str(self._path))
        if link is None and start:
            await in_thread(self._spawn)
            link = _try(str(self._path))
            if link is None:
                raise Unavailable("the DNS process does not answer: look at the daemon's log")
        return link

    def _spawn(self) -> None:
        command = [sys.executable, "-m", "sampan.network.dns.server", str(self._path)]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            timeout=_START_WITHIN_S,
            check=False,
        )
        if done.returncode:
            raise Unavailable(f"the DNS process ended with {done.returncode} at its start")

    async def _open(self, container_id: str) -> None:
        """Sockets in the sandbox, for the server."""
        sandbox, servers = self._wanted[container_id]
        self._served.add(container_id)
        try:
            linux = self._worker.linux
            descriptors = await self._worker.run(
                lambda: linux.netns.run_inside(sandbox.path, lambda: _sockets(linux))
            )
        except BaseException:
            self._served.discard(container_id)
            raise
        self._send({"op": "serve", "sandbox": container_id, "servers": servers}, descriptors)

    def _send(self, order: dict[str, object], descriptors: tuple[int, ...] = ()) -> None:
        if self._link is None:
            _close_all(descriptors)
            return
        self._outgoing.append((json.dumps(order).encode(), descriptors))
        if len(self._outgoing) == 1:
            self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._link is not None and self._outgoing:
            data, descriptors = self._outgoing[0]
            try:
                socket.send_fds(self._link, [data], descriptors)
            except BlockingIOError:
                loop.add_writer(self._link, self._flush)
                return
            except OSError:
                self._lost()
                return
            self._outgoing.popleft()
            _close_all(descriptors)
        if self._link is not None:
            loop.remove_writer(self._link)

    def _lost(self) -> None:
        """The server says nothing after its greeting: readable means gone."""
        self._drop()
        self._served = set()
        if not self._stopping and self._wanted:
            log.warning("the DNS process is gone: starting another")
            self._tasks.spawn(self._heal(), name="network/dns")

    async def _heal(self) -> None:
        attempt = 0
        while self._link is None and self._wanted and not self._stopping:
            try:
                await self._connect(start=True)
            except (OSError, Unavailable, subprocess.TimeoutExpired) as error:
                log.error("the DNS process cannot be started: %s", error)
                await self._clock.sleep(_BACKOFF_S[min(attempt, len(_BACKOFF_S) - 1)])
                attempt += 1

    def _drop(self) -> None:
        if self._link is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._link)
            loop.remove_writer(self._link)
            self._link.close()
            self._link = None
        while self._outgoing:
            _close_all(self._outgoing.popleft()[1])


def _join(container_id: str, network_id: str, order: list[object]) -> dict[str, object]:
    return {"op": "join", "sandbox": container_id, "network": network_id, "endpoint": order}


def zone_messages(
    network_id: str, network_name: str, old: Zone | None, new: Zone
) -> Iterator[dict[str, object]]:
    """What makes ``old`` (None: whatever there was) into ``new``, in packets that the kernel
    takes; the server heeds them all at the last."""
    before = old or Zone()
    forward = {n: list(a) for n, a in new.forward.items() if before.forward.get(n) != a}
    forward |= {name: [] for name in before.forward.keys() - new.forward.keys()}
    reverse = {a: n for a, n in new.reverse.items() if before.reverse.get(a) != n}
    reverse |= dict.fromkeys(before.reverse.keys() - new.reverse.keys(), "")
    parts: list[tuple[str, object]] = [*forward.items(), *reverse.items()]
    for start in range(0, max(len(parts), 1), _NAMES_A_PACKET):
        chunk = parts[start : start + _NAMES_A_PACKET]
        yield {
            "op": "zone",
            "network": network_id,
            "name": network_name,
            "anew": old is None and start == 0,
            "forward": {key: value for key, value in chunk if isinstance(value, list)},
            "reverse": {key: value for key, value in chunk if isinstance(value, str)},
            "last": start + _NAMES_A_PACKET >= len(parts),
        }


def _try(path: str) -> socket.socket | None:
    link = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    link.setblocking(False)
    try:
        link.connect(path)
    except OSError:
        link.close()
        return None
    return link


async def _greeting(link: socket.socket) -> set[str]:
    """Which sandboxes the server serves already."""
    served: set[str] = set()
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_START_WITHIN_S):
        while True:
            data = await loop.sock_recv(link, 1 << 16)
            if not data:
                raise Unavailable("the DNS process hung up")
            answer = json.loads(data)
            if answer["op"] == "ready":
                return served
            served.add(answer["sandbox"])


def _sockets(linux: Linux) -> tuple[int, int]:
    """In the sandbox: two sockets on ports that nobody else wants, and rules that lead
    127.0.0.11:53 there, so that a container that itself listens on port 53 can."""
    with contextlib.ExitStack() as undo:
        udp = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        tcp = undo.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        udp.bind((etc.EMBEDDED, 0))
        tcp.bind((etc.EMBEDDED, 0))
        tcp.listen(128)
        ports = udp.getsockname()[1], tcp.getsockname()[1]
        with linux.nft() as nft:
            rules = _RULES.format(udp=ports[0], tcp=ports[1], address=etc.EMBEDDED)
            try:
                nft.run(rules)
            except NftError:
                # The rules of a server that was killed. Not replaced at the first try, because
                # a deletion in a transaction waits 12 ms for a grace period of the kernel.
                nft.run(f"delete table ip sampan-dns\n{rules}")
        return os.dup(udp.fileno()), os.dup(tcp.fileno())


_RULES = """
create table ip sampan-dns
table ip sampan-dns {{
    chain output {{
        type nat hook output priority -100;
        ip daddr {address} udp dport 53 dnat to {address}:{udp}
        ip daddr {address} tcp dport 53 dnat to {address}:{tcp}
    }}
}}
"""


def _close_all(descriptors: Sequence[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
