"""One host of the laboratory and what can happen to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess
from sampan.testing.dockerd import DockerDaemon
from sampan.testing.lab.lan import Lan, ip
from sampan.testing.lab.machine import Machine
from sampan.testing.place import Inside, InsideProcess, wait_until

NETWORK = "198.51.100"
DOCKER_BRIDGES = ("docker0", "docker_gwbridge")
"""Docker keeps both, the second one since it was first in a cluster."""
CLIENT = 100
"""The last number of the client's address; host 1 has 1, and so on."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a host is before it exists."""

    number: int
    kind: str
    """``sampan``, ``docker`` or ``client``."""

    @property
    def name(self) -> str:
        return "client" if self.kind == "client" else f"host{self.number}"

    @property
    def address(self) -> str:
        return f"{NETWORK}.{self.number}"

    def mac(self, device: int) -> str:
        return f"02:1a:b0:00:{device:02x}:{self.number:02x}"


class LabHost:
    """A host; the client is one without a daemon."""

    def __init__(
        self, base: Path, identity: Identity, lan: Lan, hosts_file: str, arguments: tuple[str, ...]
    ) -> None:
        self.base = base
        self.identity = identity
        self.name = identity.name
        self.address = identity.address
        """Its IPv4 address on the LAN."""
        self.lan = lan
        self.machine = Machine(base, identity.name)
        self._hosts_file = hosts_file
        self._addresses = [(f"{self.address}/24", "eth0")]
        self._daemon: DaemonProcess | None = None
        if identity.kind != "client":
            make = DockerDaemon if identity.kind == "docker" else DaemonProcess
            self._daemon = make(base, *arguments, place=self.machine.place)

    @property
    def daemon(self) -> DaemonProcess:
        """start, stop, kill, restart, freeze, thaw, answers, tail, pid."""
        if self._daemon is None:
            raise ValueError(f"{self.name} has no daemon")
        return self._daemon

    @property
    def has_daemon(self) -> bool:
        return self._daemon is not None

    @property
    def place(self) -> Inside:
        return self.machine.place

    @property
    def environment(self) -> dict[str, str]:
        """For commands on it: its own daemon, and the ``sampan`` under test first in PATH."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DOCKER_", "COMPOSE_"))}
        found = self._daemon.environment if self._daemon is not None else kept
        here = str(Path(sys.executable).parent)
        return found | {"PATH": f"{here}:{found.get('PATH', os.defpath)}"}

    # -- commands

    def run(
        self,
        *command: str,
        stdin: bytes | None = None,
        ok: bool = True,
        timeout: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in its namespaces; with ``ok`` a non-zero exit is an AssertionError."""
        done = subprocess.run(
            self.place.command(*command),
            input=stdin or b"",
            capture_output=True,
            timeout=timeout,
            env=self.environment | dict(env or {}),
            check=False,
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if ok and done.returncode != 0:
            raise AssertionError(
                f"{self.name}: {' '.join(command)} -> {done.returncode}\n{out}{err}"
            )
        return subprocess.CompletedProcess(command, done.returncode, out, err)

    def popen(self, *command: str, **how: Any) -> InsideProcess:
        """Start a command in its namespaces; ``how`` is ``Popen``'s."""
        how.setdefault("env", self.environment)
        return self.place.spawn(command, **how)

    def docker(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """The stock docker command against its daemon; ``how`` as in ``Shell``. It runs outside
        of the host's namespaces, since a unix socket is reached from anywhere."""
        return Shell(self.daemon).docker(*arguments, **how)

    def sampan(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        """The project's own command against its daemon."""
        command = str(Path(sys.executable).parent / "sampan")
        return Shell(self.daemon)(command, *arguments, **how)

    # -- the network

    def cut_off(self) -> None:
        """Pull its cable: packets are lost, connections hang, nothing is refused."""
        self.lan.cut(self.name)

    def heal(self) -> None:
        """Plug the cable in again."""
        self.lan.heal(self.name)
        # losing the carrier takes nothing away that a device had, bar what the kernel learned
        self._configure(self._devices())

    def add_address(self, address: str, device: str = "eth0") -> None:
        """Another ``ADDRESS/PREFIX``; a device that it has not got yet is plugged in first."""
        if device not in self._devices():
            self._plug(device)
        self._addresses.append((address, device))
        self._configure([device])

    # -- power

    def power_on(self) -> None:
        """Begin to make its namespaces; ``join_lan`` waits for them."""
        self.machine.power_on(self._hosts_file)

    def join_lan(self) -> None:
        """Wait until it is up, then plug it in. Its daemon is not started."""
        self.machine.wait_up()
        for device in self._devices():
            self._plug(device)
        self._configure(self._devices())

    def kill(self) -> None:
        """Lose the power: first the cable goes, so that no connection is closed in good order,
        then every process at once. What was on its disk stays, /run does not."""
        if self.machine.alive:
            self.cut_off()
        self.machine.power_off()
        if self.lan.machine.alive:
            self.lan.unplug(self.name)
        if self._daemon is not None:
            if self._daemon.process is not None:
                self._daemon.process.wait()
            self._daemon.remove_cgroups()
            self._daemon.socket.unlink(missing_ok=True)
            (self.base / "dockerd.pid").unlink(missing_ok=True)
            shutil.rmtree(self._daemon.state, ignore_errors=True)

    def revive(self) -> None:
        """The power is back: the host boots, with the addresses it had, and its daemon starts."""
        self.power_on()
        self.join_lan()
        if self._daemon is not None:
            self._daemon.start()

    def _devices(self) -> list[str]:
        return list(dict.fromkeys(device for _, device in self._addresses))

    def _plug(self, device: str) -> None:
        self.lan.plug(self.machine, device, self.identity.mac(int(device.removeprefix("eth"))))

    def _configure(self, devices: list[str]) -> None:
        lines = ["link set lo up", *(f"link set {device} up" for device in devices)]
        lines += [f"addr replace {a} dev {d}" for a, d in self._addresses if d in devices]
        ip(self.place.pid, lines)

    # -- what is left

    def leftovers(self) -> dict[str, list[str]]:
        """Everything on it although no container should be there: processes, mounts, cgroups, and
        every network device and nftables table but those that a daemon at rest has."""
        daemon = self.daemon
        found = daemon.leftovers()
        known = {"lo", daemon.instance.default_bridge, *DOCKER_BRIDGES, *self._devices()}
        if devices := [i for i in self.place.interfaces() if i not in known]:
            found["interfaces"] = devices
        listed = self.place.run("nft", "list", "tables").splitlines()
        if self.identity.kind == "sampan" and (
            tables := [t for t in listed if t.split()[-1] != daemon.instance.table]
        ):
            found["tables"] = tables
        return found

    def settled(self) -> dict[str, list[str]]:
        """``leftovers`` once the kernel had time to finish what was asked of it."""
        wait_until(lambda: not self.leftovers())
        return self.leftovers()
