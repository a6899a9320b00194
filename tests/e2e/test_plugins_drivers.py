"""Volumes and logs of plugins, with the stock docker command."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sampan.client import Client
from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess, running_daemon, short_directory
from sampan.testing.place import wait_until
from sampan.testing.plugins.kinds import logged
from sampan.testing.plugins.process import PluginProcess, Start, running_plugin


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with short_directory() as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def module_plugged(
    place: Path, with_busybox: Callable[[DaemonProcess], None]
) -> Iterator[DaemonProcess]:
    arguments = ("--plugin-sockets", str(place / "run"), "--plugin-specs", str(place / "etc"))
    with running_daemon(place / "d", *arguments, "--plugin-timeout", "3") as daemon:
        with_busybox(daemon)
        yield daemon


@pytest.fixture
def sh(module_plugged: DaemonProcess) -> Iterator[Shell]:
    shell = Shell(module_plugged)
    yield shell
    if left := shell.docker("ps", "-aq").stdout.split():
        shell.docker("rm", "-fv", *left)
    assert module_plugged.settled() == {}, module_plugged.tail()


@pytest.fixture
def start(place: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(kind: str, name: str) -> PluginProcess:
            return stack.enter_context(running_plugin(kind, name, place / "run", place / name))

        yield started


def uses(plugin: PluginProcess) -> list[tuple[str, str]]:
    """(call, id) of every mount and unmount by a run; what fills a new volume mounts it, too."""
    calls = plugin.calls("VolumeDriver.Mount", "VolumeDriver.Unmount")
    found = [(call.method.removeprefix("VolumeDriver."), call.request["ID"]) for call in calls]
    return [(call, user) for call, user in found if not user.startswith("seed-")]


def test_what_a_plugins_volume_holds_is_not_counted(sh: Shell, start: Start) -> None:
    plugin = start("volume", "far")
    sh.docker("volume", "create", "-d", "far", "elsewhere")
    sh.docker("volume", "create", "here")
    sh.docker("run", "--rm", "-v", "elsewhere:/a", "-v", "here:/b", "busybox", "touch", "/a/x")
    listed = sh.docker("system", "df", "-v", "--format", "{{json .Volumes}}").stdout
    sizes = {one["Name"]: one["Size"] for one in json.loads(listed)}
    assert (sizes["elsewhere"], sizes["here"]) == ("-1B", "0B")
    sh.docker("volume", "rm", "elsewhere", "here")
    assert plugin.calls("VolumeDriver.Remove")


def test_a_volume_of_a_plugin_is_mounted_and_unmounted_by_each_run(sh: Shell, start: Start) -> None:
    plugin = start("volume", "store")
    assert sh.docker("volume", "create", "-d", "store", "-o", "size=1G", "vol").stdout == "vol\n"
    told = json.loads(sh.docker("volume", "inspect", "vol").stdout)[0]
    assert (told["Driver"], told["Options"], told["Scope"]) == ("store", {"size": "1G"}, "global")
    assert told["Status"] == {"options": {"size": "1G"}, "users": 0}
    sh.docker("run", "--rm", "-v", "vol:/data", "busybox", "sh", "-c", "echo hello >/data/file")
    assert (plugin.directory / "data/vol/file").read_text() == "hello\n"
    assert sh.docker("run", "--rm", "-v", "vol:/d", "busybox", "cat", "/d/file").stdout == "hello\n"
    one, one_end, two, two_end = uses(plugin)
    assert (one[0], one_end[0], two[0], two_end[0]) == ("Mount", "Unmount", "Mount", "Unmount")
    assert one[1] == one_end[1] != two[1] == two_end[1]
    drivers = sh.docker("info", "-f", '{{join .Plugins.Volume " "}}').stdout.split()
    assert {"local", "store"} <= set(drivers)
    assert "store" in sh.docker("volume", "ls").stdout
    refused = sh.docker("volume", "create", "-d", "store", "-o", "bad=1", "vol2", ok=False)
    assert "VolumeDriver.Create: unknown option: bad" in refused.stderr
    sh.docker("volume", "rm", "vol")
    assert not (plugin.directory / "data/vol").exists()


def test_who_has_a_volume_mounted_is_known_over_restarts_of_the_daemon(
    sh: Shell, start: Start, module_plugged: DaemonProcess
) -> None:
    plugin = start("volume", "kept")
    names = ("one", "two")
    for name in names:
        sh.docker(
            "run",
            "-d",
            "--name",
            name,
            "--volume-driver",
            "kept",
            "-v",
            "shared:/s",
            "busybox",
            "sleep",
            "900",
        )
    ids = [user for _, user in uses(plugin)]
    assert len(set(ids)) == 2
    module_plugged.kill()
    module_plugged.start()
    assert sh.docker("exec", "one", "sh", "-c", "touch /s/x && ls /s").stdout == "x\n"
    sh.docker("rm", "-f", "one")
    wait_until(lambda: ("Unmount", ids[0]) in uses(plugin))
    sh.docker("rm", "-f", "two")
    wait_until(lambda: ("Unmount", ids[1]) in uses(plugin))
    unmounted = [user for call, user in uses(plugin) if call == "Unmount"]
    assert sorted(unmounted) == sorted(ids), "each once, and only its own"
    sh.docker("volume", "rm", "shared")


def test_a_plugin_that_hangs_holds_up_only_who_waits_for_it(sh: Shell, start: Start) -> None:
    plugin = start("volume", "slow")
    sh.docker("volume", "create", "-d", "slow", "vol")
    plugin.behave(VolumeDriver_Mount="hang")

    def another_runs_meanwhile() -> bool:
        failed: list[str] = []
        waiting = threading.Thread(
            target=lambda: failed.append(
                sh.docker("run", "--rm", "-v", "vol:/v", "busybox", "true", ok=False).stderr
            )
        )
        before = len(plugin.calls("VolumeDriver.Mount"))
        waiting.start()
        assert wait_until(lambda: len(plugin.calls("VolumeDriver.Mount")) > before)
        sh.docker("run", "--rm", "busybox", "true")
        meanwhile = waiting.is_alive()
        waiting.join()
        assert 'plugin "slow": VolumeDriver.Mount: no answer within 3 s' in failed[0]
        return meanwhile

    # a busy machine may take those 3 s for any container; one that is held up takes them always
    assert any(another_runs_meanwhile() for _ in range(5))
    plugin.behave()
    sh.docker("run", "--rm", "-v", "vol:/v", "busybox", "true")
    sh.docker("volume", "rm", "vol")


def test_volumes_that_others_made_are_listed_shown_and_removed(
    sh: Shell, start: Start, place: Path, sampan: str
) -> None:
    elsewhere = place / "stock" / "data" / "theirs"
    elsewhere.mkdir(parents=True)
    known = {"path": str(elsewhere), "options": {}, "users": []}
    (place / "stock" / "volumes.json").write_text(json.dumps({"theirs": known}))
    stock = start("volume", "stock")  # which nobody has named yet
    start("log", "of-another-kind")
    sh.docker("volume", "create", "ours")
    line = "{{.Driver}} {{.Name}}"

    def listed() -> list[str]:
        return sorted(sh.docker("volume", "ls", "--format", line).stdout.splitlines())

    assert listed() == ["local ours", "stock theirs"]
    assert sh.docker("volume", "ls", "-q", "--filter", "driver=stock").stdout == "theirs\n"
    shown = json.loads(sh.docker("volume", "inspect", "theirs").stdout)[0]
    assert (shown["Driver"], shown["CreatedAt"][:10]) == ("stock", "2026-01-02")
    sh.docker("volume", "create", "-d", "stock", "mine")
    assert listed() == ["local ours", "stock mine", "stock theirs"]
    sh.docker("volume", "rm", "theirs", "mine")
    assert not elsewhere.exists()
    missing = sh.docker("volume", "inspect", "theirs", ok=False).stderr
    # a docker of 2023 says the second whatever the answer was
    assert "get theirs: no such volume" in missing or "No such volume: theirs" in missing
    # one that hangs is warned of, and keeps nothing else from being listed
    stock.behave(VolumeDriver_List="hang")
    told = Client(sh.daemon.host, environ={}).get("/volumes")
    assert [volume["Name"] for volume in told["Volumes"]] == ["ours"]
    why = "volumes of the driver stock are not listed: "
    assert [warning for warning in told["Warnings"] if warning.startswith(why)]
    assert f"WARNING: {why}" in sh(sampan, "volume", "ls").stderr
    sh.docker("volume", "rm", "ours")


def test_a_plugin_that_hangs_at_its_activation_holds_up_nobody_else(
    sh: Shell, start: Start
) -> None:
    plugin = start("volume", "stuck")
    plugin.behave(Plugin_Activate="hang")
    failed: list[str] = []

    def create(name: str) -> None:
        said = sh.docker("volume", "create", "-d", "stuck", name, ok=False)
        failed.append(said.stderr)

    waiting = [threading.Thread(target=create, args=(f"vol{n}",)) for n in range(3)]
    for thread in waiting:
        thread.start()
    assert wait_until(lambda: plugin.calls("Plugin.Activate"))
    sh.docker("volume", "create", "plain")
    sh.docker("volume", "rm", "plain")
    for thread in waiting:
        thread.join()
    assert len(failed) == 3
    for said in failed:
        assert 'plugin "stuck": Plugin.Activate: no answer within 3 s' in said


def test_a_plugin_that_dies_comes_back(sh: Shell, start: Start) -> None:
    plugin = start("volume", "mortal")
    sh.docker("volume", "create", "-d", "mortal", "vol")
    plugin.behave(VolumeDriver_Mount="die")
    died = sh.docker("run", "--rm", "-v", "vol:/v", "busybox", "true", ok=False)
    assert 'plugin "mortal": VolumeDriver.Mount: the plugin broke the connection off' in died.stderr
    plugin.wait()
    gone = sh.docker("run", "--rm", "-v", "vol:/v", "busybox", "true", ok=False)
    assert 'plugin "mortal"' in gone.stderr
    assert "Connection refused" in gone.stderr
    plugin.behave()
    plugin.start()
    sh.docker("run", "--rm", "-v", "vol:/v", "busybox", "touch", "/v/file")
    assert (plugin.directory / "data/vol/file").exists()
    sh.docker("volume", "rm", "vol")


def test_a_plugin_is_found_by_a_specification_and_a_missing_one_is_named(
    sh: Shell, start: Start, place: Path
) -> None:
    plugin = start("volume", "real")
    (place / "etc").mkdir(exist_ok=True)
    (place / "etc/alias.spec").write_text(f"unix://{plugin.socket}")
    sh.docker("volume", "create", "-d", "alias", "vol")
    sh.docker("volume", "rm", "vol")
    (place / "etc/broken.json").write_text("{")
    broken = sh.docker("volume", "create", "-d", "broken", "vol", ok=False)
    assert (
        f'plugin "broken": {place}/etc/broken.json: not a plugin\'s specification' in broken.stderr
    )
    missing = sh.docker("volume", "create", "-d", "nobody", "vol", ok=False)
    assert 'error looking up volume plugin nobody: plugin "nobody" not found' in missing.stderr
    wrong = sh.docker("run", "--rm", "--log-driver", "real", "busybox", "true", ok=False)
    assert "Plugin does not implement the requested driver" in wrong.stderr


def test_a_log_plugin_gets_every_line_and_gives_them_back(sh: Shell, start: Start) -> None:
    plugin = start("log", "lines")
    script = "i=1; while [ $i -le 10000 ]; do echo $i; i=$((i+1)); done; echo end >&2"
    options = ("--log-driver", "lines", "--log-opt", "anything=goes", "--name", "talker")
    sh.docker("run", *options, "busybox", "sh", "-c", script)
    (container,) = sh.docker("ps", "-aq", "--no-trunc").stdout.split()
    assert wait_until(lambda: len(logged(plugin.directory, container)) >= 10_001, 20)
    entries = logged(plugin.directory, container)
    lines = [entry.line for entry in entries if entry.source == "stdout"]
    assert [int(line) for line in lines] == list(range(1, 10_001))
    assert [entry.line for entry in entries if entry.source == "stderr"] == [b"end"]
    info = plugin.calls("LogDriver.StartLogging")[0].request["Info"]
    assert info["ContainerName"] == "/talker"
    assert info["Config"] == {"anything": "goes"}
    shown = sh.docker("logs", "talker")
    assert shown.stdout.split() == [str(n) for n in range(1, 10_001)]
    assert shown.stderr == "end\n"
    last = sh.docker("logs", "-n", "5", "talker")
    assert len((last.stdout + last.stderr).splitlines()) == 5
    assert plugin.calls("LogDriver.ReadLogs")
    assert "lines" in sh.docker("info", "--format", "{{.Plugins.Log}}").stdout


def test_a_container_talks_on_while_its_log_plugin_is_dead(sh: Shell, start: Start) -> None:
    plugin = start("log", "frail")
    script = "for i in 1 2 3 4 5 6 7 8 9; do echo $i; read x; done"
    sh.docker(
        "run", "-d", "-i", "--log-driver", "frail", "--name", "tt", "busybox", "sh", "-c", script
    )
    (container,) = sh.docker("ps", "-aq", "--no-trunc").stdout.split()
    assert wait_until(lambda: len(logged(plugin.directory, container)) == 1)
    plugin.stop()
    sh.docker("attach", "tt", stdin=b"\n" * 9)
    assert sh.docker("wait", "tt").stdout == "0\n"
    plugin.start()
    assert wait_until(lambda: len(logged(plugin.directory, container)) >= 9, 60)
    got = [int(entry.line) for entry in logged(plugin.directory, container)]
    assert list(dict.fromkeys(got)) == list(range(1, 10))


def test_a_container_on_a_plugins_network_has_its_interface_and_address(
    sh: Shell, start: Start
) -> None:
    plugin = start("network", "wires")
    sh.docker(
        "network", "create", "-d", "wires", "-o", "speed=fast", "--subnet", "10.77.0.0/24", "pnet"
    )
    made = plugin.calls("NetworkDriver.CreateNetwork")[0].request
    assert made["Options"]["com.docker.network.generic"] == {"speed": "fast"}
    assert made["IPv4Data"][0]["Pool"] == "10.77.0.0/24"
    sh.docker("run", "-d", "--name", "first", "--network", "pnet", "busybox", "sleep", "900")
    told = json.loads(sh.docker("inspect", "first").stdout)[0]["NetworkSettings"]["Networks"][
        "pnet"
    ]
    address = told["IPAddress"]
    assert address.startswith("10.77.0.")
    shown = sh.docker("exec", "first", "ip", "-4", "address", "show", "dev", "eth0").stdout
    assert f"inet {address}/24" in shown
    routes = sh.docker("exec", "first", "ip", "route").stdout
    assert "default via 10.77.0.1 dev eth0" in routes
    assert "198.51.100.0/24 dev eth0" in routes
    # the plugin's bridge has the gateway's address, and connects containers with one another
    ping = ("ping", "-c", "1", "-w", "5")
    sh.docker("exec", "first", *ping, "10.77.0.1")
    sh.docker("run", "--rm", "--network", "pnet", "busybox", *ping, "first")
    published = sh.docker(
        "run", "--rm", "--network", "pnet", "-p", "80", "busybox", "true", ok=False
    )
    assert "network pnet: its driver wires publishes no ports" in published.stderr
    joins = plugin.calls("NetworkDriver.Join")
    sh.docker("rm", "-f", "first")
    assert wait_until(lambda: len(plugin.calls("NetworkDriver.DeleteEndpoint")) == len(joins) == 3)
    assert "wires" in sh.docker("info", "--format", "{{.Plugins.Network}}").stdout
    sh.docker("network", "rm", "pnet")
    assert plugin.calls("NetworkDriver.DeleteNetwork")
    assert json.loads((plugin.directory / "networks.json").read_text()) == {}


def test_addresses_of_an_ipam_plugin_are_given_and_given_back(sh: Shell, start: Start) -> None:
    plugin = start("ipam", "numbers")
    sh.docker("network", "create", "--ipam-driver", "numbers", "--subnet", "10.78.0.0/24", "inet")
    options = ("--network", "inet", "busybox")
    sh.docker("run", "-d", "--name", "high", *options, "sleep", "900")
    find = ("inspect", "-f", "{{.NetworkSettings.Networks.inet.IPAddress}}")
    assert sh.docker(*find, "high").stdout == "10.78.0.253\n"
    shown = sh.docker("run", "--rm", "--ip", "10.78.0.9", *options, "ip", "address", "show", "eth0")
    assert "10.78.0.9/24" in shown.stdout
    sh.docker("rm", "-f", "high")
    sh.docker("network", "rm", "inet")
    released = [c.request["Address"] for c in plugin.calls("IpamDriver.ReleaseAddress")]
    assert sorted(released) == ["10.78.0.253", "10.78.0.254", "10.78.0.9"]
    assert json.loads((plugin.directory / "pools.json").read_text()) == {}


def test_a_network_outlives_the_daemon_with_its_plugin_hanging(
    sh: Shell, start: Start, module_plugged: DaemonProcess
) -> None:
    plugin = start("network,ipam", "both")
    create = (
        "network",
        "create",
        "-d",
        "both",
        "--ipam-driver",
        "both",
        "--subnet",
        "10.79.0.0/24",
    )
    sh.docker(*create, "bnet")
    sh.docker("run", "-d", "--name", "stays", "--network", "bnet", "busybox", "sleep", "900")
    plugin.behave(Plugin_Activate="hang")
    module_plugged.kill()
    module_plugged.start()
    sh.docker("run", "--rm", "busybox", "true")
    assert "10.79.0.253" in sh.docker("exec", "stays", "ip", "address").stdout
    failed = sh.docker("run", "--rm", "--network", "bnet", "busybox", "true", ok=False)
    assert 'plugin "both": Plugin.Activate: no answer within 3 s' in failed.stderr
    plugin.behave()
    shown = sh.docker(
        "run", "--rm", "--network", "bnet", "busybox", "ip", "address", "show", "eth0"
    )
    assert "10.79.0.252/24" in shown.stdout
    sh.docker("rm", "-f", "stays")
    sh.docker("network", "rm", "bnet")


def test_a_join_that_hangs_holds_up_no_other_start(sh: Shell, start: Start) -> None:
    plugin = start("network", "lazy")
    sh.docker("network", "create", "-d", "lazy", "--subnet", "10.80.0.0/24", "lnet")
    plugin.behave(NetworkDriver_Join="hang")
    failed: list[str] = []

    def run() -> None:
        said = sh.docker("run", "--rm", "--network", "lnet", "busybox", "true", ok=False)
        failed.append(said.stderr)

    waiting = threading.Thread(target=run)
    waiting.start()
    assert wait_until(lambda: plugin.calls("NetworkDriver.Join"))
    sh.docker("run", "--rm", "busybox", "true")
    assert waiting.is_alive(), "another one started while it was waiting"
    waiting.join()
    assert 'plugin "lazy": NetworkDriver.Join: no answer within 3 s' in failed[0]
    plugin.behave()
    sh.docker("run", "--rm", "--network", "lnet", "busybox", "true")
    sh.docker("network", "rm", "lnet")


def test_the_daemon_starts_while_its_default_log_plugin_hangs(
    place: Path, start: Start, with_busybox: Callable[[DaemonProcess], None]
) -> None:
    plugin = start("log", "default-log")
    plugin.behave(Plugin_Activate="hang")
    arguments = ("--plugin-sockets", str(place / "run"), "--plugin-timeout", "2")
    config = place / "daemon.json"
    config.write_text(json.dumps({"log-driver": "default-log", "log-opts": {"a": "b"}}))
    with running_daemon(place / "l", *arguments, "--config", str(config)) as daemon:
        assert plugin.calls() == []
        with_busybox(daemon)
        shell = Shell(daemon)
        failed = shell.docker("run", "--rm", "busybox", "true", ok=False)
        assert 'plugin "default-log": Plugin.Activate: no answer within 2 s' in failed.stderr
        plugin.behave()
        container = shell.docker("run", "-d", "busybox", "echo", "hello").stdout.strip()
        assert wait_until(lambda: len(logged(plugin.directory, container)) == 1)
        info = plugin.calls("LogDriver.StartLogging")[0].request["Info"]
        assert info["Config"] == {"a": "b"}
        shell.docker("wait", container)
        shell.docker("rm", container)
    config.write_text(json.dumps({"log-driver": "nobody"}))
    missing = DaemonProcess(place / "m", *arguments, "--config", str(config))
    with pytest.raises(RuntimeError, match="no log driver named 'nobody' is registered"):
        missing.start()
    missing.destroy()
