"""N hosts, a client beside them, and the LAN that joins them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from sampan.client.bootstrap import busybox_tar
from sampan.testing.lab import sweep
from sampan.testing.lab.host import CLIENT, Identity, LabHost
from sampan.testing.lab.lan import Lan
from sampan.testing.lab.machine import holders

PLAN = "lab.json"
BUSYBOX = "busybox:latest"


class Lab:
    """A laboratory, as a context manager: up when entered, gone when left.

    ``kinds`` tells what each host runs: ``sampan`` or ``docker``. ``arguments`` are for every
    daemon. Were this process killed with -9, everything would still be taken away.
    """

    def __init__(
        self,
        hosts: int = 3,
        *,
        kinds: Sequence[str] | None = None,
        arguments: tuple[str, ...] = (),
        base: Path | None = None,
    ) -> None:
        kinds = tuple(kinds) if kinds is not None else ("sampan",) * hosts
        if not 0 < len(kinds) < CLIENT:
            raise ValueError(f"a laboratory has 1 to {CLIENT - 1} hosts, not {len(kinds)}")
        self.kinds = kinds
        self.arguments = arguments
        self.base = base or sweep.new_directory()
        """Everything that it has on disk."""
        identities = [Identity(n, kind) for n, kind in enumerate(kinds, 1)]
        identities.append(Identity(CLIENT, "client"))
        text = "127.0.0.1 localhost\n" + "".join(f"{i.address} {i.name}\n" for i in identities)
        self.lan = Lan(self.base / "lan")
        everyone = [LabHost(self.base / i.name, i, self.lan, text, arguments) for i in identities]
        self.hosts = everyone[:-1]
        self.client = everyone[-1]
        """A host without a daemon: a visitor of the cluster."""
        self._lock: IO[bytes] | None = None
        self._watchman: sweep.Watchman | None = None

    def __enter__(self) -> Lab:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Make everything and return when all daemons answer."""
        sweep.remove_debris()
        self.base.mkdir(exist_ok=True)
        self._lock = sweep.take(self.base)
        self._watchman = sweep.Watchman(self.base)
        (self.base / PLAN).write_text(json.dumps([self.kinds, self.arguments]))
        self.lan.machine.power_on("127.0.0.1 localhost\n")
        for host in (*self.hosts, self.client):
            host.power_on()
        self.lan.machine.wait_up()
        self.lan.open()
        for host in (*self.hosts, self.client):
            host.join_lan()
        self.each(lambda host: host.daemon.start())

    @classmethod
    def find(cls, base: Path) -> Lab:
        """The laboratory that another process left standing there.

        Raises:
            FileNotFoundError: there is none.
        """
        kinds, arguments = json.loads((base / PLAN).read_text())
        lab = cls(kinds=kinds, arguments=tuple(arguments), base=base)
        for machine in (lab.lan.machine, *(host.machine for host in (*lab.hosts, lab.client))):
            machine.find()
        return lab

    def leave_standing(self) -> None:
        """Let it outlive this process; ``find`` finds it again."""
        (self.base / sweep.KEPT).touch()
        self._let_go()

    def close(self) -> None:
        """Lose the power everywhere and delete everything. Safe to call twice."""
        for host in (*self.hosts, self.client):
            host.kill()
        self.lan.machine.power_off()
        sweep.remove(self.base)
        self._let_go()

    def _let_go(self) -> None:
        if self._watchman is not None:
            self._watchman.dismiss()
            self._watchman = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- all hosts at once

    def each(
        self, act: Callable[[LabHost], object], hosts: Iterable[LabHost] | None = None
    ) -> None:
        """Do something on every host (or some) at the same time; the first failure is raised."""
        chosen = list(self.hosts if hosts is None else hosts)
        if chosen:
            with ThreadPoolExecutor(len(chosen)) as pool:
                for done in [pool.submit(act, host) for host in chosen]:
                    done.result()

    def load_busybox(self, *hosts: LabHost) -> None:
        """Put ``busybox:latest`` (CMD sh) on these hosts, or on all: the same image, with the
        same id, on each."""
        chosen = list(hosts or self.hosts)
        archive = self.base / "busybox.tar"
        if not archive.exists():
            root = self.base / "busybox-root.tar"
            with root.open("wb") as out:
                busybox_tar(out)
            first, *chosen = chosen
            first.docker("import", "--change", 'CMD ["sh"]', str(root), BUSYBOX)
            first.docker("save", "-o", str(archive), BUSYBOX)
        self.each(lambda host: host.docker("load", "-i", str(archive)), chosen)

    def split(self, *sides: Iterable[LabHost]) -> None:
        """Part the LAN: hosts reach those of their own side only. ``split()`` undoes it."""
        self.lan.split(*([host.name for host in side] for side in sides))

    def settled(self) -> dict[str, dict[str, list[str]]]:
        """Host -> what is left on it, once the kernel had time to clean up; empty is clean."""
        found = {}
        for host in self.hosts:
            if host.machine.alive and (left := host.settled()):
                found[host.name] = left
        return found


def make_well(lab: Lab) -> None:
    """Undo whatever was done to the hosts: powered, plugged in, thawed, their daemons answering."""
    lab.split()
    for host in (*lab.hosts, lab.client):
        if not host.machine.alive:
            host.revive()
        host.heal()
    for host in lab.hosts:
        host.daemon.thaw()
        if not host.daemon.answers():
            host.daemon.start()


def is_standing(base: Path) -> bool:
    """Whether a laboratory that was left standing there still is (a reboot ends it)."""
    return (base / sweep.KEPT).exists() and bool(holders(base))


def forget(base: Path) -> None:
    """Remove whatever is left of one."""
    if base.exists():
        sweep.remove(base)
        shutil.rmtree(base, ignore_errors=True)
