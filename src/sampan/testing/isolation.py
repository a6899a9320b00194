"""One session of tests (or one worker of it): what it has on this machine, and nobody else's.

A session has a directory for everything temporary, a network namespace of its own with a way out,
and a list of the daemons' instances that it has named. So ports, interfaces, tables and subnets
meet no other session's, as many as there are workers; and what is left at the end is known to be
this session's by its place or name, whatever other daemons do on the machine meanwhile.

Naive: look at the whole machine before and after. That takes for left-overs what a second daemon
has made meanwhile, and two workers could not share a machine.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from sampan.config import Instance
from sampan.kernel._libc import check, libc
from sampan.testing import debris
from sampan.testing.uplink import DEVICE

CLONE_NEWNET = 0x40000000
UP_WITHIN_S = 20.0
PARENT = Path("/tmp")


class Session:
    """Begun once a process, before anything else has a thread or a socket."""

    def __init__(self) -> None:
        self.directory, self._lock = debris.new_directory(PARENT)
        self._uplink: subprocess.Popen[bytes] | None = None
        self.instances: set[str] = set()
        """The suffixes of every instance whose name was asked for."""

    def begin(self) -> None:
        """Everything temporary goes into the directory; the network is one's own, when root. What
        earlier sessions have left is removed."""
        debris.remove_debris(PARENT)
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.directory)
        self._watch_names()
        if os.geteuid() == 0:
            self._leave_the_network()

    def _watch_names(self) -> None:
        original = Instance.of

        def of(root: Path) -> Instance:
            instance = original(root)
            self.instances.add(instance.suffix)
            return instance

        Instance.of = of  # type: ignore[method-assign]

    def _leave_the_network(self) -> None:
        assert threading.current_thread() is threading.main_thread()
        self._uplink = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.readline(); "
             "from sampan.testing.uplink import main; main(int(sys.argv[1]))", str(os.getpid())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        check(libc.unshare(CLONE_NEWNET), "unshare the network namespace")
        assert self._uplink.stdin is not None
        assert self._uplink.stdout is not None
        self._uplink.stdin.write(b"\n")
        self._uplink.stdin.flush()
        ready, _, _ = select.select([self._uplink.stdout], [], [], UP_WITHIN_S)
        if not ready or self._uplink.stdout.readline() != b"up\n":
            raise RuntimeError("the tests' network has no way out; what ip and nft say is above")

    def end(self, *, keep: bool) -> None:
        """Lose the way out, and with it the network. ``keep``: the directory is for a look, until
        the next session begins."""
        if self._uplink is not None:
            self._uplink.communicate()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def traces(self) -> set[str]:
        """Everything that this session has in the kernel and among the processes."""
        found = {f"interface {name}" for _, name in socket.if_nameindex() if name != DEVICE}
        if os.geteuid() == 0:
            tables = subprocess.run(
                ["nft", "list", "tables"], capture_output=True, text=True, check=True
            )
            found |= set(tables.stdout.splitlines())
        found |= {f"mount {target}" for target in debris.mounts(self.directory)}
        groups = {f"sampan-{suffix}" for suffix in self.instances if suffix}
        trees = Path("/sys/fs/cgroup")
        for pattern in ("sampan-*", "*/sampan-*"):
            found |= {f"cgroup {path}" for path in trees.glob(pattern) if path.name in groups}
        own = {os.getpid(), self._uplink.pid if self._uplink is not None else 0}
        for pid, words in debris.processes(self.directory).items():
            # Python's own tracker ends with this process.
            if pid not in own and "multiprocessing.resource_tracker" not in words:
                found.add(f"process {pid} {words}")
        return found
