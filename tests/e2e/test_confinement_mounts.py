"""What confines a container cannot be mounted over, however one gets there."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from sampan.testing.clients import Shell

OVER = "cannot be mounted over"


@pytest.fixture
def cunning(sh: Shell, busybox_tar: Path, tmp_path: Path) -> str:
    """An image whose links lead to where no mount may be, with volumes of its own there."""
    root = tmp_path / "root.tar"
    root.write_bytes(busybox_tar.read_bytes())
    with tarfile.open(root, "a") as tar:
        for name, leads in (("p", "/proc"), ("s", "../sys"), ("c", "/s/fs/cgroup")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, leads
            tar.addfile(link, io.BytesIO())
    sh.docker("import", "--change", 'CMD ["true"]', str(root), "cunning")
    for name, path in (("plain", "/proc/self"), ("through", "/p/self")):
        sh.docker("import", "--change", f"VOLUME {path}", str(root), f"cunning:{name}")
    return "cunning"


@pytest.mark.parametrize(
    "mount",
    [
        ("-v", "vol:/proc"),
        ("-v", "/tmp:/proc/self"),
        ("-v", "vol:/sys/fs/cgroup"),
        ("-v", "vol:/dev"),
        ("-v", "vol:/dev/null"),
        ("-v", "vol:/proc/sysrq-trigger"),
        ("--tmpfs", "/proc"),
        ("--mount", "type=bind,src=/tmp,dst=/sys"),
    ],
)
def test_a_mount_is_refused_at_create(sh: Shell, mount: tuple[str, str]) -> None:
    done = sh.docker("create", *mount, "busybox", "true", ok=False)
    assert done.returncode != 0
    assert OVER in done.stderr
    assert sh.docker("ps", "-aq").stdout == ""


@pytest.mark.parametrize("target", ["/p", "/p/1", "/s", "/c", "/p/../p/self"])
def test_a_link_of_the_image_is_followed(sh: Shell, cunning: str, target: str) -> None:
    done = sh.docker("run", "--rm", "-v", f"vol:{target}", cunning, "true", ok=False)
    sh.docker("volume", "rm", "vol")
    assert done.returncode == 125
    assert OVER in done.stderr
    assert "which leads to /" in done.stderr


@pytest.mark.parametrize("tag", ["plain", "through"])
def test_a_volume_of_the_image_is_refused(sh: Shell, cunning: str, tag: str) -> None:
    done = sh.docker("run", "--rm", f"{cunning}:{tag}", "true", ok=False)
    assert done.returncode == 125
    assert OVER in done.stderr


def test_what_the_host_lends_is_taken(sh: Shell, tmp_path: Path) -> None:
    for mount in ("/proc:/proc", "/sys:/sys:ro", "/dev:/dev", "/proc:/host/proc:ro"):
        sh.docker("run", "--rm", "-v", mount, "busybox", "test", "-e", "/dev/null")
    own = tmp_path / "uptime"
    own.write_text("7.00 1.00\n")
    read = sh.docker("run", "--rm", "-v", f"{own}:/proc/uptime", "busybox", "cat", "/proc/uptime")
    assert read.stdout == "7.00 1.00\n"


def test_the_cgroups_are_read_only(sh: Shell) -> None:
    script = "touch /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/y; ls /sys/fs/cgroup"
    done = sh.docker("run", "--rm", "busybox", "sh", "-c", script)
    assert done.stderr.count("Read-only file system") == 2, done.stderr
    assert done.stdout.strip()


def test_read_only_goes_as_deep_as_asked(sh: Shell, tmp_path: Path) -> None:
    below = tmp_path / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(below)], check=True)
    try:
        (below / "seen").touch()
        mount = f"type=bind,src={tmp_path},dst=/m,ro,bind-propagation=rprivate,bind-recursive="
        said = {
            how: sh.docker(
                "run", "--rm", "--runtime", runtime, "--mount", mount + how, "busybox", "sh", "-c",
                "ls /m/below; touch /m/below/x && echo written; true",
            ).stdout.split()
            for how, runtime in (
                ("enabled", "crun"),
                ("readonly", "crun"),
                ("writable", "crun"),
                ("disabled", "runc"),
            )
        }  # fmt: skip
        refused = sh.docker("run", "--rm", "--mount", mount + "disabled", "busybox", ok=False)
    finally:
        subprocess.run(["umount", str(below)], check=True)
    assert said == {
        "enabled": ["seen"],
        "readonly": ["seen"],
        "writable": ["seen", "written"],
        "disabled": [],
    }
    assert "--runtime runc" in refused.stderr
    loose = f"type=bind,src={tmp_path},dst=/m,bind-propagation=rprivate,bind-recursive=readonly"
    assert sh.docker("create", "--mount", loose, "busybox", ok=False).returncode != 0


def test_an_init_is_mounted_where_it_belongs(sh: Shell, busybox_tar: Path, tmp_path: Path) -> None:
    root = tmp_path / "root.tar"
    root.write_bytes(busybox_tar.read_bytes())
    with tarfile.open(root, "a") as tar:
        link = tarfile.TarInfo("sbin/docker-init")
        link.type, link.linkname = tarfile.SYMTYPE, "/proc/sysrq-trigger"
        tar.addfile(link, io.BytesIO())
    sh.docker("import", str(root), "init")
    done = sh.docker("run", "--rm", "--init", "init", "true", ok=False)
    assert OVER in done.stderr
    copied = sh.docker("create", "--tmpfs", "/x:tmpcopyup", "busybox", ok=False)
    assert "tmpcopyup" in copied.stderr
