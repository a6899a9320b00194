"""A set of namespaces and the process that holds them: what a host is made of."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from pathlib import Path

from sampan.testing.place import Inside

UP_WITHIN_S = 10.0
GONE_WITHIN_S = 10.0

# Runs as the first process of the new namespaces: $1 is the machine's directory, $2 its hostname.
BOOT = r"""
set -eu
mount --make-rprivate /
hostname "$2"
mount -t proc proc /proc

# A sysfs shows the network devices of the namespace it was mounted in. What is mounted beneath the
# old one (the cgroups) comes along: into a new tree first, which then takes the old one's place.
mkdir -p "$1/sys"
mount -t sysfs sysfs "$1/sys"
mount --rbind /sys/fs/cgroup "$1/sys/fs/cgroup"
umount -l /sys
mount --move "$1/sys" /sys

# Without power /run is empty again, and a lock or socket there is no other host's.
for name in hostname hosts resolv.conf; do
    file=$(readlink -m "/etc/$name")
    case $file in
        /run/*) set -- "$@" "$1/$name" "$file" ;;
        *) mount --bind "$1/$name" "$file" ;;
    esac
done
hold=$1/hold
umount -l -R /run 2>/dev/null || true
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
# a daemon finds no configuration of this machine there, and leaves no key of its own
for own in /etc/docker /etc/sampan; do
    [ ! -d "$own" ] || mount -t tmpfs -o mode=755 tmpfs "$own"
done
shift 2
while [ $# -gt 0 ]; do
    mkdir -p "${2%/*}"
    cp "$1" "$2"
    shift 2
done
# as where systemd runs: a bind mount with propagation works
mount --make-rshared /

echo up
# Orphans become children of the first process here; one that ignores SIGCHLD need not reap them.
exec env --ignore-signal=CHLD cat "$hold" >/dev/null
"""


class Machine:
    """Namespaces whose files are in ``directory``; from the outside they are reached by pid."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name
        self.place: Inside = Inside(0)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._holder() is not None

    def _holder(self) -> int | None:
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        return holders(self.directory.parent).get(self.name)

    def find(self) -> None:
        """Take over what another process has powered on."""
        holder = self._holder()
        self.place.pid = (child_of(holder) if holder is not None else None) or 0

    def power_on(self, hosts: str) -> None:
        """Make the namespaces. ``hosts`` is the text of /etc/hosts; ``wait_up`` comes next."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "hostname").write_text(f"{self.name}\n")
        (self.directory / "hosts").write_text(hosts)
        (self.directory / "resolv.conf").write_text("# the laboratory has no name server\n")
        hold = self.directory / "hold"
        if not hold.exists():
            os.mkfifo(hold)
        command = ["unshare", "--mount", "--uts", "--ipc", "--net", "--pid", "--fork"]
        # the first process must not outlive unshare, by which it is found
        command += ["--kill-child", "sh", "-c", BOOT, "boot", str(self.directory), self.name]
        with (self.directory / "boot.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )

    def wait_up(self) -> None:
        """Raises RuntimeError with what the boot script said."""
        assert self._process is not None
        assert self._process.stdout is not None
        with self._process.stdout as out:
            ready, _, _ = select.select([out], [], [], UP_WITHIN_S)
            if not ready or out.readline() != b"up\n":
                said = (self.directory / "boot.log").read_text()
                raise RuntimeError(f"{self.name} of the laboratory did not come up:\n{said}")
        first = child_of(self._process.pid)
        if first is None:
            raise RuntimeError(f"{self.name} of the laboratory ended at once")
        # the same object as before the power was lost: others hold it
        self.place.pid = first

    def power_off(self) -> None:
        """SIGKILL for every process there is in it, at once; returns when all are gone."""
        if (holder := self._holder()) is not None:
            kill(holder)
        if self._process is not None:
            self._process.wait(GONE_WITHIN_S)
            self._process = None


def child_of(pid: int) -> int | None:
    """The first child of a process."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            return int(child)
    return None


def kill(unshare: int) -> None:
    """End the namespaces that this ``unshare`` made, and wait for the last process in them."""
    first = child_of(unshare)
    if first is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(unshare, signal.SIGKILL)
        return
    with contextlib.suppress(ProcessLookupError):
        ended = os.pidfd_open(first)
        os.kill(first, signal.SIGKILL)
        # A frozen command's nsenter is stopped too, and would never see that the command has ended.
        for wrapper in _entered(first):
            with contextlib.suppress(ProcessLookupError):
                os.kill(wrapper, signal.SIGCONT)
        select.select([ended], [], [], GONE_WITHIN_S)
        os.close(ended)


def _entered(first: int) -> list[int]:
    return [
        pid for pid, words in commands() if words[0] == "nsenter" and f"--target={first}" in words
    ]


def holders(directory: Path) -> dict[str, int]:
    """Name of a machine under ``directory`` -> pid of its ``unshare``, asked of the kernel."""
    found = {}
    for pid, words in commands():
        if words[0] == "unshare" and len(words) > 2 and Path(words[-2]).parent == directory:
            found[Path(words[-2]).name] = pid
    return found


def commands() -> list[tuple[int, list[str]]]:
    """Every process with its words."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{entry.name}/cmdline").read_bytes().decode(errors="replace")
                found.append((int(entry.name), words.rstrip("\0").split("\0")))
    return found
