"""What a killed session of tests leaves behind is removed by the next one, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sampan.kernel import mount
from sampan.testing import debris

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts")

SESSION = """
import subprocess, sys
from pathlib import Path
from sampan.kernel import mount
from sampan.testing import debris
directory, lock = debris.new_directory(Path(sys.argv[1]))
(directory / "on").mkdir()
mount.mount("t", directory / "on", "tmpfs")
(directory / "on" / "deep").mkdir()
mount.mount("t", directory / "on" / "deep", "tmpfs")
subprocess.Popen(["sleep", "1000"], env={"TMPDIR": str(directory)}, stdout=subprocess.DEVNULL)
print(directory, flush=True)
sys.stdin.read()
"""


def test_a_killed_session_is_removed_and_a_living_one_is_not(tmp_path: Path) -> None:
    (tmp_path / "t-of-others").mkdir()
    command = [sys.executable, "-c", SESSION, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdout is not None
        directory = Path(session.stdout.readline().decode().strip())
        assert len(debris.mounts(directory)) == 2
        (child,) = debris.processes(directory)
        assert debris.remove_debris(tmp_path) == []
        assert mount.is_mounted(directory / "on")
        ended = os.pidfd_open(child)
        session.kill()
        session.wait()
    try:
        assert debris.remove_debris(tmp_path) == [directory]
        assert debris.mounts(directory) == []
        assert os.listdir(tmp_path) == ["t-of-others"]
        assert debris.processes(directory) == {}
    finally:
        os.close(ended)


def test_what_cannot_be_removed_is_named_and_does_not_keep_the_rest(tmp_path: Path) -> None:
    stuck = tmp_path / "t-stuck"
    stuck.mkdir()
    mount.mount("t", stuck, "tmpfs")
    try:
        (stuck / debris.LOCK).touch()
        other, lock = debris.new_directory(tmp_path)
        (other / "within").mkdir()
        (other / "file").symlink_to(tmp_path)
        lock.close()
        with pytest.warns(UserWarning, match=f"left in {stuck} cannot be removed: .*busy"):
            assert debris.remove_debris(tmp_path) == [other]
    finally:
        mount.unmount(stuck)
    assert os.listdir(tmp_path) == ["t-stuck"]
