"""A front finds its database by name: one virtual address, or all addresses of the tasks."""

from __future__ import annotations

import ipaddress
import json

import pytest

from sampan.testing.lab import Lab, LabHost
from sampan.testing.lab.hammer import Hammer
from sampan.testing.lab.services import (
    EXAMPLES,
    create,
    fetch,
    inside,
    inspect,
    wait_for,
    wait_running,
)
from sampan.testing.place import wait_until


def lookup(host: LabHost, container: str, name: str) -> list[str]:
    """The addresses that a container gets for a name."""
    said = host.docker("exec", container, "nslookup", "-type=a", name, ok=False).stdout
    return sorted(
        line.split()[-1] for line in said.partition("Name:")[2].splitlines() if "Address" in line
    )


@pytest.mark.only_sampan("Docker's virtual addresses stand on IPVS")
def test_dbcluster(swarm3: Lab) -> None:
    one, _, three = swarm3.hosts
    one.docker(
        "stack",
        "deploy",
        "-c",
        str(EXAMPLES / "front.yaml"),
        "--resolve-image",
        "never",
        "app",
    )
    wait_running(one, "app_front", 1)
    wait_running(one, "app_dbcluster", 1)
    url = f"http://{three.address}:8080/cgi-bin/ask"
    assert fetch(swarm3.client, url) == "answered by db1"

    host, front = inside(swarm3, "app_front")
    (virtual,) = lookup(host, front, "dbcluster")
    assert [
        ipaddress.ip_interface(v["Addr"]).ip.compressed
        for v in inspect(one, "app_dbcluster")["Endpoint"]["VirtualIPs"]
    ] == [virtual]
    assert len(lookup(host, front, "tasks.dbcluster")) == 1
    with Hammer(swarm3.client, url) as visitors:
        one.docker("service", "scale", "-d", "app_dbcluster=3")
        wait_running(one, "app_dbcluster", 3)
        assert wait_until(lambda: len(lookup(host, front, "tasks.dbcluster")) == 3)
        assert lookup(host, front, "dbcluster") == [virtual]
        assert virtual not in lookup(host, front, "tasks.dbcluster")
        seen: set[str] = set()

        def all_answer() -> bool:
            seen.add(fetch(swarm3.client, url))
            return len(seen) == 3

        assert wait_until(all_answer, 20), seen
        one.docker("service", "scale", "-d", "app_dbcluster=1")
        wait_running(one, "app_dbcluster", 1)
        assert wait_until(lambda: len(lookup(host, front, "tasks.dbcluster")) == 1)
    assert visitors.seen.failures == []
    assert set(visitors.seen.answers) == {"answered by db1", "answered by db2", "answered by db3"}
    one.docker("stack", "rm", "app")


def test_round_robin_without_a_virtual_address(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    one.docker("network", "create", "-d", "overlay", "--attachable", "talk")
    create(
        one,
        "db",
        "--network",
        "name=talk,alias=base",
        "--endpoint-mode",
        "dnsrr",
        "--replicas",
        "3",
        "busybox",
        "sleep",
        "1000",
    )
    wait_running(one, "db", 3)
    one.docker(
        "run",
        "-d",
        "--rm",
        "--name",
        "alone",
        "--network",
        "talk",
        "--stop-signal",
        "KILL",
        "busybox",
        "sleep",
        "1000",
    )
    try:
        assert wait_until(lambda: len(lookup(one, "alone", "db")) == 3)
        assert (
            lookup(one, "alone", "base")
            == lookup(one, "alone", "db")
            == lookup(one, "alone", "tasks.db")
        )
        for address in lookup(one, "alone", "db"):
            one.docker("exec", "alone", "ping", "-c", "1", "-W", "2", address)
        assert inspect(one, "db")["Endpoint"].get("VirtualIPs") in (None, [])
    finally:
        one.docker("rm", "-f", "alone")
        one.docker("service", "rm", "db")
        assert wait_until(lambda: one.docker("network", "rm", "talk", ok=False).returncode == 0, 15)


def test_an_overlay_is_what_was_asked(swarm3: Lab) -> None:
    one, two, _ = swarm3.hosts
    one.docker(
        "network",
        "create",
        "-d",
        "overlay",
        "--subnet",
        "10.44.0.0/24",
        "--gateway",
        "10.44.0.9",
        "--label",
        "a=b",
        "--internal",
        "shut",
    )
    (found,) = json.loads(one.docker("network", "inspect", "shut").stdout)
    assert (found["Scope"], found["Driver"], found["Internal"], found["Labels"]) == (
        "swarm",
        "overlay",
        True,
        {"a": "b"},
    )
    assert found["IPAM"]["Config"] == [{"Subnet": "10.44.0.0/24", "Gateway": "10.44.0.9"}]
    create(
        one,
        "in",
        "--network",
        "shut",
        "--constraint",
        "node.hostname==host2",
        "busybox",
        "sleep",
        "1000",
    )
    wait_running(one, "in", 1)
    (container,) = two.docker("ps", "-q").stdout.split()
    # no way out of an internal network
    wait_for(
        lambda: "default" not in two.docker("exec", container, "ip", "route").stdout,
        one,
        "in",
        "no route",
    )
    one.docker("service", "rm", "in")
    assert wait_until(lambda: one.docker("network", "rm", "shut", ok=False).returncode == 0, 15)
