"""The laboratory does to its hosts what happens to machines, and leaves nothing."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.testing.lab import Lab, LabHost, sweep
from sampan.testing.lab.lab import make_well
from sampan.testing.lab.machine import commands, holders
from sampan.testing.place import state_of, undisturbed, wait_until

SCRIPT = Path(__file__).parent.parent.parent / "script" / "lab"


@pytest.fixture(scope="module")
def shared() -> Iterator[Lab]:
    with Lab(3) as lab:
        lab.load_busybox()
        yield lab


@pytest.fixture
def lab(shared: Lab) -> Iterator[Lab]:
    """Three hosts, all well, before and after."""
    yield shared
    make_well(shared)
    for host in shared.hosts:
        if left := host.docker("ps", "-aq").stdout.split():
            host.docker("rm", "-f", *left)
    assert shared.settled() == {}


def reaches(host: LabHost, other: LabHost) -> bool:
    pinged = host.run("busybox", "ping", "-c1", "-W1", other.name, ok=False)
    return pinged.returncode == 0


def comes_to_reach(host: LabHost, other: LabHost) -> bool:
    """A busy machine may need more than the second that a ping waits."""
    return wait_until(lambda: reaches(host, other))


def test_everyone_reaches_everyone(lab: Lab) -> None:
    everyone = [*lab.hosts, lab.client]
    assert all(comes_to_reach(a, b) for a in everyone for b in everyone)


def test_a_host_knows_itself_and_only_itself(lab: Lab) -> None:
    one, two, _ = lab.hosts
    assert one.run("hostname").stdout == "host1\n"
    assert one.run("cat", "/etc/hostname").stdout == "host1\n"
    assert one.run("ls", "/sys/class/net").stdout.split() == sorted(one.place.interfaces())
    assert str(two.base) not in one.run("ps", "-ww", "-eo", "args").stdout
    one.run("touch", "/run/mine")
    assert two.run("test", "-e", "/run/mine", ok=False).returncode == 1
    assert not Path("/run/mine").exists()


def test_a_command_on_a_host_speaks_to_its_daemon(lab: Lab) -> None:
    two = lab.hosts[1]
    assert two.run("docker", "info", "-f", "{{.Name}}").stdout == "host2\n"
    assert two.docker("info", "-f", "{{.Name}}").stdout == "host2\n"
    assert "busybox" in two.run("sampan", "images").stdout


def test_all_hosts_have_the_same_image(lab: Lab) -> None:
    ids = {h.docker("image", "inspect", "-f", "{{.Id}}", "busybox").stdout for h in lab.hosts}
    assert len(ids) == 1


def test_containers_run_on_the_hosts_own_bridge_and_are_published_on_the_lan(lab: Lab) -> None:
    one = lab.hosts[0]
    serve = "mkdir /w && hostname > /w/index.html && httpd -f -h /w"
    one.docker("run", "-d", "--hostname", "boat", "-p", "8080:80", "busybox", "sh", "-c", serve)
    fetched = wait_until(
        lambda: (
            lab.client.run("curl", "-s", f"http://{one.address}:8080/", ok=False).stdout == "boat\n"
        )
    )
    assert fetched


def test_pulling_the_cable_loses_packets_until_it_is_plugged_in_again(lab: Lab) -> None:
    one, two, three = lab.hosts
    two.cut_off()
    assert not reaches(one, two)
    assert not reaches(two, three)
    assert comes_to_reach(one, three)
    assert two.daemon.answers()
    two.heal()
    assert comes_to_reach(one, two)


def test_a_connection_survives_a_pulled_cable(lab: Lab) -> None:
    one, two, _ = lab.hosts
    # an end of the server's input would be the end of its half of the connection
    server = two.popen(
        "busybox", "nc", "-l", "-p", "7000", stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert wait_until(lambda: "7000" in two.run("ss", "-Hltn").stdout)
    client = one.popen("busybox", "nc", two.address, "7000", stdin=subprocess.PIPE)
    with server, client:
        assert server.stdout
        assert client.stdin
        assert wait_until(lambda: "7000" in one.run("ss", "-Htn", "state", "established").stdout)
        two.cut_off()
        client.stdin.write(b"through thick and thin\n")
        client.stdin.flush()
        assert select.select([server.stdout], [], [], 0.3)[0] == []
        two.heal()
        assert server.stdout.readline() == b"through thick and thin\n"
        client.kill()


def test_the_lan_parts(lab: Lab) -> None:
    one, two, three = lab.hosts
    lab.split([one, lab.client], [two, three])
    assert comes_to_reach(two, three)
    assert comes_to_reach(one, lab.client)
    assert not reaches(one, two)
    lab.split()
    assert comes_to_reach(one, two)


def test_losing_the_power_ends_everything_at_once(lab: Lab) -> None:
    one, two, _ = lab.hosts
    two.docker("run", "-d", "--name", "victim", "busybox", "sleep", "1000")
    two.kill()
    assert not [pid for pid, words in commands() if str(two.base) in " ".join(words)]
    assert two.daemon.cgroups() == []
    assert not reaches(one, two)

    two.revive()

    assert comes_to_reach(one, two)
    status = "{{.State.Status}} {{.State.Running}}"
    assert two.docker("inspect", "-f", status, "victim").stdout == "exited false\n"


def test_a_killed_daemon_leaves_its_containers(lab: Lab) -> None:
    two = lab.hosts[1]
    two.docker("run", "-d", "--name", "lives", "busybox", "sleep", "1000")
    two.daemon.kill()
    assert not two.daemon.answers()
    two.daemon.start()
    assert two.docker("inspect", "-f", "{{.State.Status}}", "lives").stdout == "running\n"
    two.daemon.restart()
    assert two.docker("inspect", "-f", "{{.State.Status}}", "lives").stdout == "running\n"
    assert "conmon" in " ".join(two.leftovers()["processes"])


def test_a_frozen_daemon_hangs_and_can_go_on(lab: Lab) -> None:
    one = lab.hosts[0]
    one.daemon.freeze()
    assert state_of(one.daemon.pid) == "T"
    version = one.popen("docker", "version", stdout=subprocess.DEVNULL)
    assert select.select([], [], [], 0.2) == ([], [], [])
    assert version.poll() is None
    one.daemon.thaw()
    assert version.wait(20) == 0


def test_a_frozen_daemon_can_be_killed(lab: Lab) -> None:
    one = lab.hosts[0]
    one.daemon.freeze()
    one.daemon.kill()
    one.daemon.start()


def test_a_frozen_host_can_lose_its_power(lab: Lab) -> None:
    one = lab.hosts[0]
    one.daemon.freeze()
    one.kill()
    one.revive()


def test_a_host_has_several_addresses_and_keeps_them(lab: Lab) -> None:
    three = lab.hosts[2]
    three.add_address("203.0.113.3/24", "eth1")
    three.add_address("198.51.100.203/24")
    lab.client.run("busybox", "ping", "-c1", "-W1", "198.51.100.203")
    three.kill()
    three.revive()
    lab.client.run("busybox", "ping", "-c1", "-W1", "198.51.100.203")
    listed = three.run("ip", "-br", "addr", "show", "eth1").stdout
    assert "203.0.113.3/24" in listed


def test_what_is_left_is_told(lab: Lab) -> None:
    one = lab.hosts[0]
    one.run("ip", "link", "add", "vx1", "type", "vxlan", "id", "7", "dstport", "4789")
    one.run("nft", "add", "table", "inet", "forgotten")
    assert one.leftovers() == {"interfaces": ["vx1"], "tables": ["table inet forgotten"]}
    one.run("ip", "link", "del", "vx1")
    one.run("nft", "delete", "table", "inet", "forgotten")


def test_nothing_of_it_is_seen_outside(lab: Lab) -> None:
    addresses = subprocess.check_output(["ip", "-br", "addr"], text=True)
    assert not [host.name for host in lab.hosts if host.address in addresses]
    assert str(lab.base) not in Path("/proc/self/mountinfo").read_text()


# -- the end


def test_the_end_of_its_maker_is_its_end() -> None:
    program = (
        "import signal; from sampan.testing.lab import Lab\n"
        "with Lab(1) as lab:\n"
        "    print(lab.base, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as maker:
        assert maker.stdout
        base = Path(maker.stdout.readline().decode().strip())
        assert holders(base).keys() == {"host1", "client", "lan"}
        maker.kill()
    assert wait_until(lambda: not base.exists() and not holders(base), 20)


def test_debris_is_removed_when_even_the_watchman_was_killed() -> None:
    lab = Lab(1)
    lab.open()
    assert lab._watchman
    lab._watchman._process.kill()
    lab._watchman._process.communicate()
    sweep.remove_debris()
    assert lab.base.exists(), "it is in use"
    lab._watchman = None
    lab._let_go()
    sweep.remove_debris()
    assert not lab.base.exists()
    assert not holders(lab.base)
    lab.close()


def test_a_failing_start_leaves_nothing() -> None:
    lab = Lab(2, arguments=("--no-such-option",))
    with pytest.raises(RuntimeError, match="no-such-option"), lab:
        pass
    assert not lab.base.exists()
    assert not holders(lab.base)


# -- the command


@pytest.fixture
def script() -> Iterator[list[str]]:
    command = [str(SCRIPT), "--name", f"test{os.getpid()}"]
    yield command
    subprocess.run([*command, "down"], check=True)


def say(command: list[str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_the_script_makes_one_that_stays(script: list[str], tmp_path: Path) -> None:
    base = sweep.parent() / f"{sweep.PREFIX}-test{os.getpid()}"
    up = say(script, "up", "2")
    assert up.returncode == 0, up.stderr
    this = " ".join(["script/lab", *script[1:]])
    assert f"{this} exec 1 sampan swarm init" in up.stdout
    assert "is up already" in say(script, "up").stderr

    sweep.remove_debris()
    assert say(script, "exec", "2", "hostname").stdout == "host2\n"
    assert say(script, "exec", "2", "docker", "info", "-f", "{{.Name}}").stdout == "host2\n"
    assert say(script, "exec", "client", "busybox", "ping", "-c1", "host1").returncode == 0
    assert say(script, "exec", "1", "sh", "-c", "exit 7").returncode == 7
    assert "there is no host 3: say 1 to 2, or client" in say(script, "exec", "3", "true").stderr

    assert say(script, "cut", "1").returncode == 0
    assert say(script, "exec", "client", "busybox", "ping", "-c1", "-W1", "host1").returncode == 1
    assert say(script, "heal", "1").returncode == 0
    assert say(script, "exec", "client", "busybox", "ping", "-c1", "-W1", "host1").returncode == 0
    assert say(script, "kill", "1").returncode == 0
    assert f"host1 has no power: {this} revive 1" in say(script, "exec", "1", "true").stderr
    assert say(script, "revive", "1").returncode == 0
    assert say(script, "exec", "1", "sampan", "ps").returncode == 0

    assert say(script, "down").returncode == 0
    assert not base.exists()
    assert not holders(base)
    assert f"no laboratory is up: {this} up" in say(script, "exec", "1", "true").stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_up_leaves_nothing(script: list[str], how: signal.Signals) -> None:
    base = sweep.parent() / f"{sweep.PREFIX}-test{os.getpid()}"
    with subprocess.Popen(undisturbed([*script, "up", "2"]), stdout=subprocess.DEVNULL) as up:
        assert wait_until(lambda: len(holders(base)) > 1)
        up.send_signal(how)
    assert up.returncode != 0
    assert wait_until(lambda: not base.exists() and not holders(base), 20)
