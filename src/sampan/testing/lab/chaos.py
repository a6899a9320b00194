"""Random faults on a cluster in the laboratory while its users go on working, and what must hold.

What was acknowledged must be there at the end, to the exact number of containers; what was not may
be or not. So each service has the set of replica counts that it may have: one after an answer, two
while a request's fate is unknown.
"""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from sampan.testing.lab import swarm
from sampan.testing.lab.host import LabHost
from sampan.testing.lab.lab import Lab, make_well
from sampan.testing.place import wait_until

CONVERGES_WITHIN_S = 60.0
ABSENT = -1
MOST_REPLICAS = 6
REFUSED = ("update out of sequence", "No such service", "not found")
"""Answers after which an update or a scaling surely did nothing."""


@dataclass
class Ledger:
    """What a service may look like, by name; one user at a time has a service."""

    may_be: dict[str, set[int]] = field(default_factory=dict)

    def asked(self, name: str, count: int, *, acknowledged: bool, refused: bool) -> None:
        before = self.may_be.get(name, {ABSENT})
        if acknowledged:
            self.may_be[name] = {count}
        elif not refused:
            self.may_be[name] = before | {count}


class User:
    """Creates, scales, updates and removes services of its own, by any daemon that answers."""

    def __init__(self, lab: Lab, number: int, rng: random.Random, *words: str) -> None:
        self._lab, self._number, self._rng, self._words = lab, number, rng, words
        self._made = 0
        self.ledger = Ledger()
        self.acknowledged = 0
        self.bare: list[str] = []
        """Answers that say nothing: internal errors."""

    def run(self, over: threading.Event) -> None:
        while not over.is_set():
            self.step()

    def step(self) -> None:
        known = [n for n, may in self.ledger.may_be.items() if len(may) == 1 and ABSENT not in may]
        unsure = [n for n, may in self.ledger.may_be.items() if len(may) > 1]
        verb = self._rng.choice(("create", "scale", "scale", "update", "rm"))
        if unsure and self._rng.random() < 0.2:
            known = unsure
        if not known or (verb == "create" and len(known) < 4):
            self._made += 1
            name, count = f"u{self._number}-{self._made}", self._rng.randint(0, MOST_REPLICAS)
            self._ask(
                name, count, "create", "-dq", "--no-resolve-image", "--name", name,
                "--stop-signal", "KILL", "--replicas", str(count), *self._words,
                "busybox", "sleep", "100000",
            )  # fmt: skip
            return
        name = self._rng.choice(known)
        if verb == "rm":
            self._ask(name, ABSENT, "rm", name)
        elif verb == "update":
            may = self.ledger.may_be[name]
            self._ask(name, next(iter(may)) if len(may) == 1 else None, "update", "-dq", "--force",
                      "--no-resolve-image", name)  # fmt: skip
        else:
            count = self._rng.randint(0, MOST_REPLICAS)
            self._ask(name, count, "scale", "-d", f"{name}={count}")

    def _ask(self, name: str, count: int | None, *words: str) -> None:
        host = self._rng.choice(self._lab.hosts)
        try:
            done = host.docker("service", *words, ok=False, timeout=20)
        except subprocess.TimeoutExpired:
            if count is not None:
                self.ledger.asked(name, count, acknowledged=False, refused=False)
            return
        said = done.stderr
        if "internal error" in said.lower() or "Traceback" in said:
            self.bare.append(f"{host.name}: {' '.join(words)}: {said.strip()}")
        acknowledged = done.returncode == 0
        self.acknowledged += acknowledged
        refused = words[0] in ("scale", "update") and any(text in said for text in REFUSED)
        if count is not None:
            self.ledger.asked(name, count, acknowledged=acknowledged, refused=refused)
        if not acknowledged:
            time.sleep(0.1)


class Faults:
    """Faults at random, each undone before ``strike`` returns."""

    def __init__(self, lab: Lab, rng: random.Random, tell: Callable[[str], None] = print) -> None:
        self._lab, self._rng, self._tell = lab, rng, tell

    def strike(self, *, at_once: int = 1) -> None:
        """The same happens to so many hosts at the same time."""
        hosts = self._rng.sample(self._lab.hosts, at_once)
        kind = self._rng.choice((self.kill, self.kill, self.freeze, self.cut, self.crash))
        seconds = self._rng.choice((0.1, 0.5, 1.5, 4.0, 8.0))
        self._tell(f"  {kind.__name__} {' '.join(h.name for h in hosts)} for {seconds} s")
        self._lab.each(lambda host: kind(host, seconds), hosts)

    def kill(self, host: LabHost, seconds: float) -> None:
        host.daemon.kill()
        time.sleep(seconds)
        host.daemon.start()

    def freeze(self, host: LabHost, seconds: float) -> None:
        host.daemon.freeze()
        time.sleep(seconds)
        host.daemon.thaw()

    def cut(self, host: LabHost, seconds: float) -> None:
        host.cut_off()
        time.sleep(seconds)
        host.heal()

    def crash(self, host: LabHost, seconds: float) -> None:
        host.kill()
        time.sleep(seconds)
        host.revive()


@contextmanager
def at_work(users: list[User]) -> Iterator[None]:
    """The users work while the block runs; whatever broke in them is raised."""
    over = threading.Event()
    with ThreadPoolExecutor(len(users)) as pool:
        running = [pool.submit(user.run, over) for user in users]
        try:
            yield
        finally:
            over.set()
        for one in running:
            one.result()


def check(lab: Lab, users: list[User]) -> None:
    """Everything healed: all nodes ready, every service exactly as acknowledged.

    Raises:
        AssertionError: with what is different.
    """
    make_well(lab)
    first = lab.hosts[0]
    swarm.wait_ready(first, len(lab.hosts))
    ledger = {name: may for user in users for name, may in user.ledger.may_be.items()}
    if not wait_until(lambda: not differences(lab, ledger), CONVERGES_WITHIN_S):
        raise AssertionError("\n".join(differences(lab, ledger)) or "it changes still")
    there = replicas(first)
    for user in users:
        user.ledger.may_be = {name: {there.get(name, ABSENT)} for name in user.ledger.may_be}


def differences(lab: Lab, ledger: dict[str, set[int]]) -> list[str]:
    """Services that are not what they may be, tasks or containers of them too many or few."""
    first = lab.hosts[0]
    wanted = replicas(first)
    counts: dict[str, int] = {}
    for host in lab.hosts:
        label = '{{.Label "com.docker.swarm.service.name"}}'
        for name in host.docker("ps", "--format", label).stdout.split():
            counts[name] = counts.get(name, 0) + 1
    found = [
        f"{name}: wants {wanted.get(name, ABSENT)} replicas, may want {sorted(may)}"
        for name, may in ledger.items()
        if wanted.get(name, ABSENT) not in may
    ]
    for name in sorted(wanted.keys() | counts.keys()):
        want, runs = wanted.get(name, 0), counts.get(name, 0)
        listed = first.docker("service", "ps", name, ok=False).stdout if want else ""
        tasks = len(swarm.running(first, name)) if want else 0
        if not want == runs == tasks:
            found.append(f"{name}: {want} wanted, {runs} containers, {tasks} tasks\n{listed}")
    return found


def replicas(manager: LabHost) -> dict[str, int]:
    """Name of each service -> how many replicas it wants."""
    listed = manager.docker("service", "ls", "--format", "{{.Name}} {{.Replicas}}").stdout
    return {line.split()[0]: int(line.split()[1].partition("/")[2]) for line in listed.splitlines()}


def clear(lab: Lab) -> None:
    """Remove every service; then nothing of a task may be left on any host."""
    first = lab.hosts[0]
    if left := first.docker("service", "ls", "-q").stdout.split():
        first.docker("service", "rm", *left)
    for host in lab.hosts:
        if not swarm.empty(host):
            raise AssertionError(f"{host.name} keeps:\n{host.docker('ps', '-a').stdout}")


def tracebacks(lab: Lab) -> list[str]:
    """What the daemons' logs have of unexpected errors: host, the line before, the traceback."""
    found = []
    for host in lab.hosts:
        lines = host.daemon.log.read_text(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if "Traceback (most recent call last)" in line:
                found.append(
                    f"{host.name}:{number}: " + "\n".join(lines[max(0, number - 2) : number + 40])
                )
    return found
