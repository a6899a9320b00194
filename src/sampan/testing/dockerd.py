"""A real ``dockerd`` in directories of its own, to compare with."""

from __future__ import annotations

from pathlib import Path

from sampan.testing.daemon import DaemonProcess
from sampan.testing.place import Place


class DockerDaemon(DaemonProcess):
    """Docker's daemon with its own containerd (both live in ``base``) and its own cgroup.

    Where ``place`` is not a network namespace of its own, give it a bridge address with ``--bip``.
    """

    name = "dockerd"

    def __init__(self, base: Path, *arguments: str, place: Place | None = None) -> None:
        super().__init__(base, *arguments, place=place)
        self.log = base / "dockerd.log"

    @property
    def command(self) -> list[str]:
        command = ["dockerd", "--data-root", str(self.root), "--exec-root", str(self.state)]
        command += ["--pidfile", str(self.base / "dockerd.pid"), "--host", self.host]
        # the name under which ``cgroups`` finds them
        return [*command, "--cgroup-parent", f"/{self.instance.cgroup}", *self.arguments]

    def helpers(self) -> list[int]:
        return [pid for pid in super().processes() if "containerd.toml" in self._command(pid)]

    def processes(self) -> list[int]:
        helpers = self.helpers()
        return [pid for pid in super().processes() if pid not in helpers]

    def interfaces(self) -> list[str]:
        # Their names do not tell which daemon made them, and another's must never be deleted.
        return []
