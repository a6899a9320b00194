"""The command as a process: dispatch, exit codes, sentences, start-up."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sampan.cli import commands, main
from sampan.cli.container.cp import check_inside, renamed, split_place, tar_of
from sampan.cli.container.ps import ports
from sampan.cli.container.stats import cpu_percent, memory_used
from sampan.cli.system.daemon import event_line
from sampan.cli.system.network import COMMANDS as NETWORK
from sampan.cli.system.network import create_body
from sampan.cli.system.usage import usage_rows
from sampan.cli.terminal.console import parse_filters
from sampan.cli.terminal.raw_mode import parse_keys
from sampan.flags import Command


def sampan(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "sampan.cli.main", "-H", "unix:///no/such/socket", *words],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["pss"], 1, "Did you mean: sampan ps?"),
        (["network", "lss"], 1, "Did you mean: sampan network ls?"),
        (["plugin", "install", "x"], 1, "sampan plugin is refused: a plugin is a process"),
        (["ps"], 1, "Is it running?"),
        (["version"], 1, "Is it running?"),
        (["run"], 125, "requires at least 1 argument"),
        (["run", "--nope", "x"], 125, "unknown flag: --nope"),
        (["run", "-p", "x", "i"], 125, "invalid containerPort"),
        (["run", "i"], 125, "Is it running?"),
        (["rm"], 1, "requires at least 1 argument"),
        (["ps", "extra"], 1, "accepts no arguments"),
        (["ps", "-f", "x"], 1, "bad format of filter"),
        (["cp", "a", "b"], 1, "at least one container"),
        (["build", "/no/such"], 1, "not found"),
        (["image", "bootstrap", "gentoo"], 1, "use busybox or debian"),
        (["image", "bootstrap", "--package", "x", "busybox"], 1, "a busybox has no packages"),
    ],
)
def test_failures_are_sentences(words: list[str], code: int, sentence: str) -> None:
    done = sampan(*words)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_version_without_a_daemon_tells_the_client() -> None:
    assert "Client: sampan" in sampan("version").stdout


def test_help() -> None:
    assert "Common Commands" in sampan().stdout
    assert "Manage networks" in sampan("network").stdout
    assert sampan("help", "run").stdout.startswith("Usage:  sampan run")
    assert sampan("--version").stdout.startswith("sampan version")


def test_every_command_can_be_loaded() -> None:
    for name in commands.MODULES:
        command = main.load(name)
        assert isinstance(command, Command)
        assert command.path == name
        names = [flag.name for flag in command.flags]
        shorts = [flag.short for flag in command.flags if flag.short]
        assert len(set(names)) == len(names)
        assert len(set(shorts)) == len(shorts)
    for words in commands.GROUPS.values():
        assert set(words.values()) <= set(commands.MODULES)


def test_ps_imports_nothing_heavy() -> None:
    script = (
        "import sys, sampan.cli.main, sampan.cli.container.ps, sampan.client\n"
        "heavy = {'argparse', 'asyncio', 'dataclasses', 'http.client', 'ssl', 'typing',"
        " 'pathlib', 'msgspec', 'yaml', 'subprocess', 'tarfile', 'urllib', 'logging'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{script}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr.strip() == ""
    assert done.returncode == 0


def test_ports_are_drawn_together() -> None:
    both = [
        {"IP": ip, "PrivatePort": n, "PublicPort": n + 8000, "Type": "tcp"}
        for ip in ("0.0.0.0", "::")
        for n in (80, 81)
    ]
    lone = [{"PrivatePort": 443, "Type": "tcp"}, {"PrivatePort": 53, "Type": "udp"}]
    assert ports(both + lone) == (
        "443/tcp, 53/udp, 0.0.0.0:8080-8081->80-81/tcp, [::]:8080-8081->80-81/tcp"
    )
    assert ports([]) == ""


def test_filters() -> None:
    assert parse_filters(["label=a=b", "label=c", "status=x"]) == {
        "label": ["a=b", "c"], "status": ["x"],
    }  # fmt: skip


def test_network_create_pairs_pools() -> None:
    line = "--subnet 10.1.0.0/16 --subnet fd00::/64 --gateway fd00::1 --ip-range 10.1.2.0/24"
    line += " --aux-address r=10.1.0.9 --internal n"
    args = NETWORK["network create"].parse(line.split())
    assert args is not None
    made = create_body(args)
    assert made["IPAM"]["Config"] == [
        {
            "Subnet": "10.1.0.0/16",
            "IPRange": "10.1.2.0/24",
            "AuxiliaryAddresses": {"r": "10.1.0.9"},
        },
        {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
    ]
    assert made["Internal"] is True


def test_detach_keys() -> None:
    assert parse_keys("ctrl-p,ctrl-q") == b"\x10\x11"
    assert parse_keys("a,ctrl-[") == b"a\x1b"
    with pytest.raises(ValueError, match="unknown key"):
        parse_keys("ctrl-1")


def test_events() -> None:
    event = {
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "abc", "Attributes": {"name": "x", "image": "i"}},
        "timeNano": 1_500_000_000,
    }
    line = event_line(event)
    assert line.endswith(" container start abc (image=i, name=x)")
    assert ".500000000" in line


def test_stats_columns() -> None:
    found = {
        "cpu_stats": {
            "cpu_usage": {"total_usage": 300},
            "system_cpu_usage": 2000,
            "online_cpus": 2,
        },
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
    }
    assert cpu_percent(found) == pytest.approx(40.0)
    assert cpu_percent({}) == 0.0
    assert memory_used({"usage": 100, "stats": {"inactive_file": 30}}) == 70


def test_disk_usage() -> None:
    rows = usage_rows({"LayersSize": 100, "Images": [{"Size": 60, "Containers": 1}]})
    assert rows[0] == {
        "Type": "Images", "TotalCount": "1", "Active": "1", "Size": "100B",
        "Reclaimable": "40B (40%)",
    }  # fmt: skip


def test_copy_names(tmp_path: Path) -> None:
    assert split_place("web:/etc") == ("web", "/etc")
    assert split_place("./a:b") == ("", "./a:b")
    assert renamed("etc/x", "etc", "copy") == "copy/x"
    assert renamed("etc", "etc", "copy") == "copy"
    assert renamed("etc/x", "etc", "") == "x"
    assert renamed("etc/x", "etc", None) == "etc/x"
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_text("hello")
    (tmp_path / "t.tar").write_bytes(b"".join(tar_of(str(tmp_path / "d"), "n", keep_owner=False)))
    with tarfile.open(tmp_path / "t.tar") as tar:
        assert tar.getnames() == ["n", "n/f"]
        assert tar.extractfile("n/f").read() == b"hello"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["../x", "a/../../x", "link/x"])
def test_copies_stay_inside(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to("/etc")
    with pytest.raises(Exception, match="refusing to write"):
        check_inside(tarfile.TarInfo(name), str(root))
    check_inside(tarfile.TarInfo("a/b"), str(root))
