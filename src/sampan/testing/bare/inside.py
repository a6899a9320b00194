"""The first process of a bare machine: mounts, then the command, and orphans until it ends.

    python -m sampan.testing.bare.inside GATE ROOT HOSTNAME WORKDIR [SOURCE TARGET]... -- COMMAND

``GATE`` is the descriptor on which a line comes once the network is there.

It starts on the host's file system and moves into ``ROOT``; from then on it can import nothing.
"""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

from sampan.kernel import mount
from sampan.kernel.mount import MS_REC, MS_SHARED, MountInfo

_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
NOT_FOUND = 127
LOST = 137


def main(arguments: list[str]) -> int:
    split = arguments.index("--")
    gate, root, hostname, workdir, *binds = arguments[:split]
    command = arguments[split + 1 :]
    socket.sethostname(hostname)
    trees = [m for m in mount.mounts() if m.fstype in ("cgroup", "cgroup2")]
    _mount_all(Path(root), trees)
    for source, target in zip(binds[::2], binds[1::2], strict=True):
        there = Path(root + target)
        there.mkdir(parents=True, exist_ok=True)
        mount.bind(Path(source), there)
    if os.read(int(gate), 1) != b"\n":
        return LOST  # the supervisor has ended
    os.close(int(gate))
    os.chdir(root)
    subprocess.run(["pivot_root", ".", "."], check=True)
    mount.unmount(Path("."), lazy=True)
    # as where systemd runs: a bind mount with propagation works
    mount.mount("", Path("/"), "", MS_SHARED | MS_REC)
    os.chdir(workdir)
    return _run(command)


def _mount_all(root: Path, trees: list[MountInfo]) -> None:
    mount.bind(root, root)
    mount.mount("proc", root / "proc", "proc")
    mount.mount("sysfs", root / "sys", "sysfs")
    groups = root / "sys/fs/cgroup"
    if not any(Path(tree.target) == Path("/sys/fs/cgroup") for tree in trees):
        mount.mount("tmpfs", groups, "tmpfs", data="mode=755")
    for tree in trees:
        target = root / tree.target.lstrip("/")
        target.mkdir(exist_ok=True)
        # A v1 hierarchy is named by its controllers; a second mount gets them as they are.
        options = {o for o in tree.super_options if o not in ("rw", "ro")}
        data = ",".join(sorted(options)) if tree.fstype == "cgroup" else ""
        mount.mount(tree.fstype, target, tree.fstype, data=data)
    mount.mount("tmpfs", root / "run", "tmpfs", data="mode=755")
    (root / "run/lock").mkdir()
    _devices(root / "dev")


def _devices(dev: Path) -> None:
    mount.mount("tmpfs", dev, "tmpfs", data="mode=755")
    for name in _DEVICES:
        host = os.stat(f"/dev/{name}")
        os.mknod(dev / name, stat.S_IFCHR | 0o666, host.st_rdev)
        os.chmod(dev / name, 0o666)
    for name, kind, data in (
        ("pts", "devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        ("shm", "tmpfs", "mode=1777"),
        ("mqueue", "mqueue", ""),
    ):
        (dev / name).mkdir()
        mount.mount(kind, dev / name, kind, data=data)
    for name, target in (
        ("ptmx", "pts/ptmx"), ("fd", "/proc/self/fd"), ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"), ("stderr", "/proc/self/fd/2"),
    ):  # fmt: skip
        (dev / name).symlink_to(target)


def _run(command: list[str]) -> int:
    """The command's exit status; 128 and the signal's number when one has ended it."""
    child = os.fork()
    if child == 0:
        # A session of its own: only what the supervisor passes on interrupts it. Nothing that the
        # caller ignored is ignored here.
        os.setsid()
        for number in range(1, signal.NSIG):
            if number not in (signal.SIGKILL, signal.SIGSTOP):
                try:
                    signal.signal(number, signal.SIG_DFL)
                except (OSError, ValueError):
                    continue  # one of the C library's own
        try:
            os.execvp(command[0], command)
        except OSError as error:
            print(f"bare: {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
            os._exit(NOT_FOUND)
    while True:
        pid, status = os.wait()  # everybody's orphans come here
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    # At the end of this process the kernel ends all others here.
    os._exit(main(sys.argv[1:]))
