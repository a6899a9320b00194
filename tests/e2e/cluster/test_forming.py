"""Three hosts become one cluster, and what is said to those who get it wrong."""

from __future__ import annotations

import re

import pytest

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.place import wait_until

NOT_A_MANAGER = "This node is not a swarm manager."


def refused(host: LabHost, *words: str) -> str:
    done = host.docker(*words, ok=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def token(manager: LabHost, role: str = "worker") -> str:
    return manager.docker("swarm", "join-token", "-q", role).stdout.strip()


def local_state(host: LabHost) -> str:
    return host.docker("info", "--format", "{{.Swarm.LocalNodeState}}").stdout.strip()


def nodes(manager: LabHost) -> dict[str, tuple[str, str]]:
    """Hostname -> (status, manager status)."""
    listed = manager.docker(
        "node", "ls", "--format", "{{.Hostname}}|{{.Status}}|{{.ManagerStatus}}"
    )
    found = {}
    for line in listed.stdout.splitlines():
        name, status, manages = line.split("|")
        found[name] = (status, manages)
    return found


def test_what_init_prints_is_what_is_typed_on_the_others(lab3: Lab) -> None:
    one, two, three = lab3.hosts
    said = one.docker("swarm", "init").stdout
    command = re.search(r"^ +docker (swarm join --token \S+ \S+)$", said, re.M)
    assert command, said
    for host in (two, three):
        assert "This node joined a swarm as a worker." in host.docker(*command[1].split()).stdout
    swarm.wait_ready(one, 3)
    assert nodes(one) == {
        "host1": ("Ready", "Leader"),
        "host2": ("Ready", ""),
        "host3": ("Ready", ""),
    }
    assert (
        one.docker("node", "inspect", "--format", "{{.Status.Addr}}", "host2").stdout.strip()
        == two.address
    )

    assert "Node left the swarm." in three.docker("swarm", "leave").stdout
    assert wait_until(lambda: nodes(one)["host3"][0] == "Down", 10)
    assert "is not down and can't be removed" in refused(one, "node", "rm", "host2")
    one.docker("node", "rm", "host3")
    one.docker("node", "rm", "--force", "host2")
    assert set(nodes(one)) == {"host1"}


def test_managers_come_and_go(lab3: Lab) -> None:
    one, two, three = lab3.hosts
    swarm.form(lab3)
    assert "demote the last manager" in refused(one, "node", "demote", "host1")
    one.docker("node", "promote", "host2", "host3")
    assert wait_until(lambda: list(nodes(one).values()).count(("Ready", "Reachable")) == 2, 20)
    assert nodes(three)["host1"] == ("Ready", "Leader")
    one.docker("node", "demote", "host2", "host3")
    assert wait_until(lambda: [m for _, m in nodes(one).values()].count("") == 2, 20)
    assert wait_until(lambda: NOT_A_MANAGER in two.docker("node", "ls", ok=False).stderr, 20)


def test_commands_of_a_cluster_elsewhere(lab3: Lab) -> None:
    one, two, _ = lab3.hosts
    for words in (
        ("node", "ls"),
        ("service", "ls"),
        ("secret", "ls"),
        ("swarm", "update", "--autolock=false"),
    ):
        assert f'{NOT_A_MANAGER} Use "docker swarm init" or "docker swarm join"' in refused(
            one, *words
        )
    assert "This node is not part of a swarm" in refused(one, "swarm", "leave")
    one.docker("swarm", "init")
    swarm.join(two, one)
    for words in (
        ("node", "ls"),
        ("service", "create", "-d", "busybox"),
        ("swarm", "join-token", "worker"),
    ):
        assert f"{NOT_A_MANAGER} Worker nodes can't be used" in refused(two, *words)


def test_tokens(lab3: Lab) -> None:
    one, two, three = lab3.hosts
    one.docker("swarm", "init")
    good = token(one)
    at = f"{one.address}:2377"
    assert "invalid join token" in refused(two, "swarm", "join", "--token", "SWMTKN-1-x", at)
    # of another cluster: its digest is not that of this one's root certificate
    three.docker("swarm", "init")
    assert "fingerprint" in refused(two, "swarm", "join", "--token", token(three), at)
    # of this cluster, but with a secret that it never gave out
    forged = "-".join([*good.split("-")[:3], good.split("-")[3][::-1]])
    assert "A valid join token is necessary to join this cluster" in refused(
        two, "swarm", "join", "--token", forged, at
    )
    # rotated: the old one has expired
    one.docker("swarm", "join-token", "--rotate", "worker")
    assert "A valid join token is necessary to join this cluster" in refused(
        two, "swarm", "join", "--token", good, at
    )
    # nobody is there
    nobody = refused(two, "swarm", "join", "--token", token(one), "198.51.100.77:2377")
    closed = refused(two, "swarm", "join", "--token", token(one), f"{three.address}:99")
    assert f"{three.address}:99: connection refused: look whether" in closed
    assert f"try {three.address}:2377" in closed
    assert (
        "198.51.100.77" in nobody
        or "Timeout was reached" in nobody
        or "could not be reached" in nobody
    )
    # its own address is none of this host
    there = ("--listen-addr", "192.0.2.9:2377")
    assert "cannot assign requested address" in refused(
        two, "swarm", "join", "--token", token(one), *there, at
    )
    # half-way is nowhere: no node, nothing here
    assert set(nodes(one)) == {"host1"}
    assert wait_until(lambda: local_state(two) == "inactive", 20)
    swarm.join(two, one)
    assert wait_until(lambda: nodes(one).get("host2") == ("Ready", ""), 10)


def test_twice(lab3: Lab) -> None:
    one, two, three = lab3.hosts
    one.docker("swarm", "init")
    swarm.join(two, one)
    already = "This node is already part of a swarm"
    assert already in refused(one, "swarm", "init")
    assert already in refused(two, "swarm", "join", "--token", token(one), f"{one.address}:2377")
    assert already in refused(two, "swarm", "init")
    last = refused(one, "swarm", "leave")
    assert "Removing the last manager erases all current state of the swarm. Use `--force`" in last
    assert local_state(one) == "active"
    one.docker("swarm", "leave", "--force")
    assert local_state(one) == "inactive"
    # an orphan leaves as well, and joins another cluster
    two.docker("swarm", "leave", "--force")
    three.docker("swarm", "init")
    swarm.join(two, three)
    swarm.wait_ready(three, 2)


def test_the_second_manager_may_not_leave_unasked(lab3: Lab) -> None:
    one, two, three = lab3.hosts
    swarm.form(lab3, managers=3)
    assert "Use `--force`" in refused(three, "swarm", "leave")
    two.docker("swarm", "leave", "--force")
    assert wait_until(lambda: nodes(one)["host2"][0] == "Down", 15)
    three.docker("swarm", "leave", "--force")


def test_a_manager_that_was_just_demoted_leaves_unforced(lab3: Lab) -> None:
    one, two, _ = lab3.hosts
    swarm.form(lab3, managers=2)
    one.docker("node", "demote", "host2")
    assert "Node left the swarm." in two.docker("swarm", "leave").stdout
    assert wait_until(lambda: nodes(one)["host2"] == ("Down", ""), 15)
    one.docker("node", "rm", "host2")


def test_several_addresses_and_none_chosen(own_lab3: Lab) -> None:
    one, two, _ = own_lab3.hosts
    one.add_address("192.0.2.1/24", "eth1")
    several = refused(one, "swarm", "init")
    assert "could not choose an IP address to advertise" in several
    assert one.address in several
    assert "192.0.2.1" in several
    assert "specify one with --advertise-addr" in several
    assert local_state(one) == "inactive"
    two.add_address("192.0.2.2/24", "eth1")
    one.docker("swarm", "init", "--advertise-addr", "eth1")
    said = one.docker("swarm", "join-token", "worker").stdout
    assert "192.0.2.1:2377" in said
    two.docker(
        "swarm", "join", "--advertise-addr", "192.0.2.2", "--token", token(one), "192.0.2.1:2377"
    )
    swarm.wait_ready(one, 2)
    assert (
        one.docker("node", "inspect", "--format", "{{.Status.Addr}}", "host2").stdout.strip()
        == "192.0.2.2"
    )


def test_an_address_that_only_the_others_can_use(own_lab3: Lab) -> None:
    one, two, _ = own_lab3.hosts
    # as behind NAT: the router's address leads to the host, which does not have it
    one.docker("swarm", "init", "--advertise-addr", "192.0.2.9")
    assert "192.0.2.9:2377" in one.docker("swarm", "join-token", "worker").stdout
    one.run("nft", "add table ip outside")
    one.run("nft", "add chain ip outside in { type nat hook prerouting priority -100; }")
    one.run("nft", f"add rule ip outside in ip daddr 192.0.2.9 dnat to {one.address}")
    two.run("ip", "route", "add", "192.0.2.9", "via", one.address)
    two.docker("swarm", "join", "--token", token(one), "192.0.2.9:2377")
    swarm.wait_ready(one, 2)
    assert one.docker("node", "inspect", "-f", "{{.Status.Addr}}", "self").stdout == "192.0.2.9\n"
    # tunnels end at the address that the host has; logs come from both
    one.docker("network", "create", "-d", "overlay", "net")
    one.docker(
        "service", "create", "--name", "pair", "--mode", "global", "--network", "net",
        "--hostname", "{{.Node.Hostname}}", "busybox", "sh", "-c", "echo up; sleep 1000",
    )  # fmt: skip
    for host in (one, two):
        container = host.docker("ps", "-q").stdout.strip()
        for _ in range(4):
            host.docker("exec", container, "ping", "-c1", "-W5", "tasks.pair")
    assert one.docker("service", "logs", "pair").stdout.count("up") == 2


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--advertise-addr", "nosuch0"], "nosuch0"),
        (["--default-addr-pool", "10.0.0.0/33"], "10.0.0.0/33"),
        (["--cert-expiry", "5s"], "minimum certificate expiry time"),
    ],
)
def test_init_with_nonsense(lab3: Lab, words: list[str], sentence: str) -> None:
    assert sentence in refused(lab3.hosts[0], "swarm", "init", *words)
    assert local_state(lab3.hosts[0]) == "inactive"


def test_init_with_wishes(lab3: Lab) -> None:
    one = lab3.hosts[0]
    one.docker(
        "swarm", "init", "--default-addr-pool", "10.99.0.0/16", "--default-addr-pool-mask-length", "26",
        "--task-history-limit", "2", "--dispatcher-heartbeat", "3s", "--cert-expiry", "48h",
    )  # fmt: skip
    one.docker("network", "create", "-d", "overlay", "own")
    subnet = one.docker(
        "network", "inspect", "--format", "{{(index .IPAM.Config 0).Subnet}}", "own"
    ).stdout
    assert re.fullmatch(r"10\.99\.\d+\.\d+/26\s*", subnet)
    info = one.docker("info").stdout
    assert "Task History Retention Limit: 2" in info
    assert "Heartbeat Period: 3 seconds" in info
    assert "Expiry Duration: 2 days" in info
    one.docker("swarm", "update", "--task-history-limit", "3")
    assert "Task History Retention Limit: 3" in one.docker("info").stdout
    one.docker("network", "rm", "own")
