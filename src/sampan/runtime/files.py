"""One run's files. All under the state directory: a reboot ends every run and its files alike.

STATE/runs/ID/config.json    the OCI bundle
              process.json   what an exec starts from
              pid            written by the OCI runtime
              monitor.pid    written by the monitor
              attach ctl winsz   the monitor's socket and pipes
              run.json       written last: the creation is complete
STATE/exits/ID               exit code, written by the monitor; its mtime is when
STATE/oci/ID/                the OCI runtime's own
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sampan.config import Paths
from sampan.runtime.contract import NoSuchRun


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a later daemon must know of a run and cannot see."""

    runtime: str
    pid: int
    pid_started: int
    monitor_pid: int
    monitor_started: int
    rootfs: str
    command: str
    """argv[0], for error messages."""
    user: str
    tty: bool
    stdin_ends: bool
    """The monitor takes a client's end of stdin, or its leaving, for the container's."""
    group_add: tuple[str, ...] = ()
    log_path: str = ""
    log_max_bytes: int = 0
    """0: the log grows without end."""
    log_max_files: int = 1
    log_compress: bool = False


_DECODER = msgspec.json.Decoder(RunRecord)


@dataclass(frozen=True, slots=True)
class RunFiles:
    id: str
    directory: Path
    exit: Path
    oci: Path

    @classmethod
    def of(cls, paths: Paths, run_id: str) -> RunFiles:
        return cls(run_id, paths.run(run_id), exits(paths) / run_id, oci_root(paths) / run_id)

    @property
    def config(self) -> Path:
        return self.directory / "config.json"

    @property
    def process(self) -> Path:
        return self.directory / "process.json"

    @property
    def pid(self) -> Path:
        return self.directory / "pid"

    @property
    def monitor_pid(self) -> Path:
        return self.directory / "monitor.pid"

    @property
    def ctl(self) -> Path:
        return self.directory / "ctl"

    @property
    def exec_fifo(self) -> Path:
        """Exists from create to start; crun and runc both call it so."""
        return self.oci / "exec.fifo"

    def record(self) -> RunRecord | None:
        """None: the creation was never completed.

        Raises:
            NoSuchRun: there is not even a directory.
        """
        try:
            return _DECODER.decode((self.directory / "run.json").read_bytes())
        except FileNotFoundError:
            if not self.directory.is_dir():
                raise NoSuchRun(f"no such run on this host: {self.id}") from None
            return None

    def write_record(self, record: RunRecord) -> None:
        # The state directory is a tmpfs: rename is enough, there is no disk to wait for.
        temporary = self.directory / "run.json.new"
        temporary.write_bytes(msgspec.json.encode(record))
        temporary.rename(self.directory / "run.json")


def runs(paths: Paths) -> Path:
    return paths.state / "runs"


def exits(paths: Paths) -> Path:
    return paths.state / "exits"


def oci_root(paths: Paths) -> Path:
    """``--root`` of the OCI runtimes."""
    return paths.state / "oci"


def read_pid(path: Path) -> int:
    """0 when the file is missing or still empty."""
    try:
        return int(path.read_text() or 0)
    except FileNotFoundError:
        return 0


def prepare(paths: Paths) -> None:
    """Make the directories; nobody but root may look inside."""
    for directory in (runs(paths), exits(paths), oci_root(paths)):
        directory.mkdir(parents=True, exist_ok=True)
        os.chmod(directory, 0o700)
