"""The supervisor of a bare machine: makes it, waits for its command, takes everything away.

It is a process of its own, so that the end of the one that the user started, however it comes, is
only an event: end of file on the lifeline. Were the supervisor itself killed with -9, the kernel
ends the first process of the namespaces (and with it all others, their mounts and the network) and
removes the table of the firewall, which belongs to the supervisor's socket; the directory and the
cgroups are then debris, which the next bare machine removes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from sampan.kernel import cgroup
from sampan.testing.bare import root
from sampan.testing.bare.root import BareFailed
from sampan.testing.lab.machine import child_of
from sampan.testing.place import wait_until
from sampan.testing.uplink import connected

HOSTNAME = "bare"
CHECKOUT = "/sampan/main"
SHARED = "/sampan/shared"
PIP_CACHE = "/root/.cache/pip"
UP_WITHIN_S = 10.0
_LOCK = "lock"


@dataclass(frozen=True)
class Order:
    """What was asked on the command line."""

    command: list[str]
    keep: bool = False
    without: list[str] = field(default_factory=list)
    """Packages to take out of the list of ``script/setup`` in there."""


def run(checkout: Path, order: Order, lifeline: int) -> int:
    """Returns the command's exit status.

    Args:
        lifeline: a descriptor; a byte on it is the number of a signal for the command, its end
            means that the caller has gone.

    Raises:
        BareFailed: the machine could not be made.
    """
    store = checkout / "build/bare"
    with contextlib.ExitStack() as undo:
        with root.locked(store):
            _remove_debris(store)
            kept = root.prepared(checkout, store)
            base = store / f"run-{os.getpid()}"
            base.mkdir()
            undo.enter_context(_locked(base))
            undo.callback(_dispose, base, order.keep)
            own = base / "root"
            root.copy(kept, own, store / "archives")
        undo.callback(root.keep_archives, own, store / "archives")
        environment = root.settle_in(own, HOSTNAME)
        _clone(checkout, own, order.without)
        (store / "pip").mkdir(exist_ok=True)
        binds = {store / "pip": PIP_CACHE}
        if (shared := checkout.parent / "shared").is_dir():
            binds[shared] = SHARED
        return _Namespaces(base, environment, binds).run(order.command, lifeline)


def _locked(base: Path) -> IO[bytes]:
    """Held for as long as this process lives."""
    lock = (base / _LOCK).open("ab")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _remove_debris(store: Path) -> None:
    """What a supervisor has left that was killed."""
    for base in store.glob("run-*"):
        with contextlib.suppress(BlockingIOError), (base / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _dispose(base, keep=False)


def _dispose(base: Path, keep: bool) -> None:
    if keep:
        kept = base.with_name(base.name.replace("run", "kept"))
        base.rename(kept)
        print(f"bare: the machine's root is in {kept}/root; remove it with: rm -rf {kept}")
    else:
        shutil.rmtree(base)
    cgroup.detect().remove(_group(base))


def _group(base: Path) -> str:
    return f"bare-{base.name}"


def _clone(checkout: Path, own: Path, without: list[str]) -> None:
    target = own / CHECKOUT.lstrip("/")
    target.parent.mkdir(parents=True)
    subprocess.run(["git", "clone", "-q", "--no-hardlinks", checkout, target], check=True)
    changed = subprocess.run(
        ["git", "-C", checkout, "status", "--porcelain"], check=True, capture_output=True
    )
    if changed.stdout:
        print("bare: what is not committed is not in there", file=sys.stderr)
    setup = target / "script/setup"
    text = setup.read_text()
    for package in without:
        found = [line for line in text.splitlines() if package in line.replace('"', " ").split()]
        if not found:
            raise BareFailed(f"script/setup does not install {package}")
        for line in found:
            text = text.replace(line, line.replace(f"{package} ", "").replace(f" {package}", ""))
    setup.write_text(text)


class _Namespaces:
    """The machine itself, for one command."""

    def __init__(self, base: Path, environment: dict[str, str], binds: dict[Path, str]) -> None:
        self._base = base
        self._environment = environment
        self._binds = binds

    def run(self, command: list[str], lifeline: int) -> int:
        gate_in, gate_out = os.pipe()
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, gate_out)
            holder = self._start(command, gate_in)
            undo.callback(self._end, holder)
            os.close(gate_in)
            cgroup.detect().join(_group(self._base), holder.pid)
            os.write(gate_out, b"\n")
            if not wait_until(lambda: _first(holder) or holder.poll() is not None, UP_WITHIN_S):
                raise BareFailed("the machine's namespaces could not be made")
            first = _first(holder)
            if first is not None:
                _hand_down(_group(self._base), (holder.pid, first))
                undo.enter_context(connected(first, f"bare{first}"))
            os.write(gate_out, b"\n")
            return _wait(holder, first, lifeline)

    def _start(self, command: list[str], gate: int) -> subprocess.Popen[bytes]:
        inside = [sys.executable, "-m", "sampan.testing.bare.inside", str(gate)]
        inside += [str(self._base / "root"), HOSTNAME, CHECKOUT]
        for source, target in self._binds.items():
            inside += [str(source), target]
        # Into the cgroup first: what a cgroup namespace shows begins where it was made.
        wait = f'read -r _ <&{gate} && exec "$@"'
        words = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", wait, "sh"]
        words += ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork"]
        words += ["--kill-child", *inside, "--", *command]
        return subprocess.Popen(words, env=self._environment, cwd="/", pass_fds=[gate])

    @staticmethod
    def _end(holder: subprocess.Popen[bytes]) -> None:
        """The end of the first process is that of all; it is waited for."""
        first = _first(holder)
        if first is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGKILL)
        elif holder.poll() is None:
            holder.kill()
        holder.wait()


def _hand_down(group: str, pids: tuple[int, ...]) -> None:
    """Below the real root, a v2 group that has processes gives no controllers to its children: the
    processes go into one of the children, as a service manager does it."""
    groups = cgroup.detect()
    if groups.version == 2:
        for pid in pids:
            groups.join(f"{group}/init", pid)
        top = groups.path(group, "unified")
        names = (top / "cgroup.controllers").read_text().split()
        (top / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names))


def _first(holder: subprocess.Popen[bytes]) -> int | None:
    return child_of(holder.pid) if holder.poll() is None else None


def _wait(holder: subprocess.Popen[bytes], first: int | None, lifeline: int) -> int:
    """Until the command has ended, or nobody waits for it."""
    ended = os.pidfd_open(holder.pid)
    try:
        while True:
            ready, _, _ = select.select([ended, lifeline], [], [])
            if ended in ready:
                code = holder.wait()
                return code if code >= 0 else 128 - code
            number = os.read(lifeline, 1)
            if not number:
                return 128 + signal.SIGTERM
            command = child_of(first) if first is not None else None
            if command is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(command, number[0])
    finally:
        os.close(ended)
