"""The network between the hosts: one bridge, in a machine of its own that nobody logs in to."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

from sampan.testing.lab.machine import Machine
from sampan.testing.place import wait_until

BRIDGE = "lan"


def ip(pid: int, lines: Iterable[str]) -> None:
    """Run ``ip`` commands in the network namespace of ``pid``, all in one process.

    Raises:
        RuntimeError: one of them failed; with what it said.
    """
    # Only the network is entered: the other pids in the commands mean what they mean here.
    done = subprocess.run(
        ["nsenter", f"--target={pid}", "--net", "ip", "-batch", "-"],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the laboratory's network: {done.stderr.strip()}")


class Lan:
    """A bridge with a port for each network device of each host, called ``HOST.DEVICE``."""

    def __init__(self, directory: Path) -> None:
        self.machine = Machine(directory, "lan")

    def open(self) -> None:
        """Make the bridge, once the machine is up."""
        options = "type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        ip(self._pid, [f"link add {BRIDGE} {options}", f"link set {BRIDGE} up"])

    @property
    def _pid(self) -> int:
        return self.machine.place.pid

    def plug(self, host: Machine, device: str, mac: str) -> None:
        """Give ``host`` a device with a cable to the bridge. Its MAC is its own for ever: the
        others still know it after a power failure."""
        port = f"{host.name}.{device}"
        there = f"peer name {device} address {mac} netns {host.place.pid}"
        ip(
            self._pid,
            [
                f"link add {port} mtu 1500 type veth {there}",
                f"link set {port} master {BRIDGE}",
                f"link set {port} up",
            ],
        )

    def unplug(self, host: str) -> None:
        """Take away the cables of a host that has lost its power. The kernel would do it as well,
        but when it likes, and a host that comes back at once would find its port taken."""
        for port in self.ports(host):
            with contextlib.suppress(RuntimeError):  # it has just gone
                ip(self._pid, [f"link del {port}"])
        if not wait_until(lambda: not self.ports(host)):
            raise RuntimeError(f"the laboratory's network: {host} is still plugged in")

    def ports(self, host: str) -> list[str]:
        """A host's ports on the bridge; they vanish with the host's namespace."""
        return [i for i in self.machine.place.interfaces() if i.startswith(f"{host}.")]

    def cut(self, host: str) -> None:
        """Pull the cable: the host sees its carrier go, and packets are lost without a word, so
        that connections hang. Nothing is refused."""
        ip(self._pid, [f"link set {port} down" for port in self.ports(host)])

    def heal(self, host: str) -> None:
        ip(self._pid, [f"link set {port} up" for port in self.ports(host)])

    def split(self, *sides: Iterable[str]) -> None:
        """Part the LAN: hosts reach those of their own side; whoever is in none stays where the
        first side is. No carrier is lost. ``split()`` puts everything together again."""
        lines = []
        for n, side in enumerate(sides):
            bridge = f"{BRIDGE}{n}" if n else BRIDGE
            if n and bridge not in self.machine.place.interfaces():
                lines += [f"link add {bridge} type bridge", f"link set {bridge} up"]
            lines += [f"link set {p} master {bridge}" for name in side for p in self.ports(name)]
        if not sides:
            every = [i for i in self.machine.place.interfaces() if "." in i]
            lines = [f"link set {port} master {BRIDGE}" for port in every]
        ip(self._pid, lines)
