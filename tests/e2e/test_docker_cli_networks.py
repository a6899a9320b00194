"""The stock docker command against a real daemon: networks, ports, names."""

from __future__ import annotations

import json
import socket
import subprocess
from contextlib import closing

import pytest

from sampan.testing.clients import Shell

SERVE = "while :; do echo -e 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' | nc -l -p 80; done"


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(address: str, port: int) -> bytes:
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.settimeout(10)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        data = b""
        while chunk := connection.recv(4096):
            data += chunk
        return data


@pytest.fixture
def web(sh: Shell) -> tuple[str, int]:
    port = free_port()
    sh.docker(
        "run", "-d", "--name", "web", "-p", f"{port}:80", "busybox",
        "sh", "-c", "mkdir /www; echo hello > /www/index.html; httpd -f -p 80 -h /www",
    )  # fmt: skip
    for _ in range(50):
        if (
            sh.docker("exec", "web", "sh", "-c", "netstat -ltn | grep -q :80", ok=False).returncode
            == 0
        ):
            break
    return "web", port


def test_a_published_port_from_everywhere(sh: Shell, web: tuple[str, int]) -> None:
    name, port = web
    assert b"hello" in fetch("127.0.0.1", port)
    # from the host by the bridge's own address
    gateway = sh.docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    assert b"hello" in fetch(gateway.stdout.strip(), port)
    # from another container, by the host's address, and straight
    url = f"http://{gateway.stdout.strip()}:{port}/"
    assert sh.docker("run", "--rm", "busybox", "wget", "-qO-", url).stdout == "hello\n"
    straight = sh.docker("inspect", name, "-f", "{{.NetworkSettings.IPAddress}}").stdout.strip()
    assert (
        sh.docker("run", "--rm", "busybox", "wget", "-qO-", f"http://{straight}/").stdout
        == "hello\n"
    )
    # the container itself, through its own published port
    assert sh.docker("exec", name, "wget", "-qO-", url).stdout == "hello\n"
    # over IPv6 loopback
    assert b"hello" in fetch("::1", port)
    assert f"0.0.0.0:{port}->80/tcp" in sh.docker("ps", "--format", "{{.Ports}}").stdout
    assert sh.docker("port", name).stdout.splitlines()[0] == f"80/tcp -> 0.0.0.0:{port}"


def test_a_port_on_loopback_only(sh: Shell) -> None:
    port = free_port()
    sh.docker(
        "run", "-d", "--name", "inner", "-p", f"127.0.0.1:{port}:80", "busybox",
        "sh", "-c", "mkdir /www; echo hello > /www/index.html; httpd -f -p 80 -h /www",
    )  # fmt: skip
    sh.docker(
        "exec", "inner", "sh", "-c", "until netstat -ltn | grep -q :80; do usleep 10000; done"
    )
    assert b"hello" in fetch("127.0.0.1", port)
    gateway = sh.docker("network", "inspect", "bridge", "-f", "{{(index .IPAM.Config 0).Gateway}}")
    with pytest.raises(OSError, match=r"refused|timed out"):
        fetch(gateway.stdout.strip(), port)


def test_a_port_of_another_container_is_taken(sh: Shell, web: tuple[str, int]) -> None:
    done = sh.docker("run", "-d", "-p", f"{web[1]}:80", "busybox", "sleep", "10", ok=False)
    assert done.returncode == 125
    assert "port is already allocated" in done.stderr


def test_a_port_of_a_host_process_is_taken(sh: Shell) -> None:
    with closing(socket.socket()) as holder:
        holder.bind(("0.0.0.0", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = sh.docker("run", "-d", "-p", f"{port}:80", "busybox", "sleep", "10", ok=False)
    assert done.returncode == 125
    assert "address already in use" in done.stderr


def test_names_on_a_user_defined_network(sh: Shell) -> None:
    sh.docker("network", "create", "lake")
    try:
        sh.docker(
            "run", "-d", "--name", "frog", "--network", "lake", "--network-alias", "prince",
            "busybox", "sleep", "1000",
        )  # fmt: skip
        address = json.loads(sh.docker("inspect", "frog").stdout)[0]
        expected = address["NetworkSettings"]["Networks"]["lake"]["IPAddress"]
        for name in ("frog", "prince"):
            out = sh.docker(
                "run", "--rm", "--network", "lake", "busybox", "nslookup", name, "127.0.0.11"
            ).stdout
            assert expected in out
        assert sh.docker(
            "run", "--rm", "--network", "lake", "busybox", "ping", "-c1", "-W2", "frog"
        ).stdout
        # a stranger on the default bridge resolves nothing and reaches nothing
        lost = sh.docker("run", "--rm", "busybox", "ping", "-c1", "-W1", expected, ok=False)
        assert lost.returncode != 0
        # names come and go with the connection
        sh.docker("network", "disconnect", "lake", "frog")
        gone = sh.docker(
            "run",
            "--rm",
            "--network",
            "lake",
            "busybox",
            "nslookup",
            "frog",
            "127.0.0.11",
            ok=False,
        )
        assert gone.returncode != 0
        sh.docker("network", "connect", "--alias", "toad", "lake", "frog")
        back = sh.docker(
            "run", "--rm", "--network", "lake", "busybox", "nslookup", "toad", "127.0.0.11"
        )
        assert back.returncode == 0
        sh.docker("rm", "-f", "frog")
    finally:
        sh.docker("network", "rm", "lake")


def test_a_container_may_listen_on_port_53_itself(sh: Shell) -> None:
    sh.docker("network", "create", "pond")
    try:
        done = sh.docker(
            "run", "--rm", "--network", "pond", "--name", "self", "busybox", "sh", "-c",
            "(nc -lu -p 53 >/dev/null &) ; usleep 100000; nslookup self 127.0.0.11",
        )  # fmt: skip
        assert "Address" in done.stdout
    finally:
        sh.docker("network", "rm", "pond")


def test_network_modes(sh: Shell) -> None:
    links = "ls /sys/class/net | tr '\\n' ' '"
    assert (
        sh.docker("run", "--rm", "--network", "none", "busybox", "sh", "-c", links).stdout.strip()
        == "lo"
    )
    host = sh.docker("run", "--rm", "--network", "host", "busybox", "hostname").stdout.strip()
    assert host == socket.gethostname()
    sh.docker("run", "-d", "--name", "base", "busybox", "sleep", "1000")
    mine = sh.docker("exec", "base", "readlink", "/proc/self/ns/net").stdout
    theirs = sh.docker(
        "run", "--rm", "--network", "container:base", "busybox", "readlink", "/proc/self/ns/net"
    ).stdout
    assert mine == theirs


def test_a_subnet_that_is_a_route_of_the_host(sh: Shell) -> None:
    route = json.loads(
        subprocess.run(["ip", "-j", "-4", "route"], capture_output=True, check=True).stdout
    )
    taken = next(r["dst"] for r in route if "/" in r["dst"])
    done = sh.docker("network", "create", "--subnet", taken, "clash", ok=False)
    assert done.returncode != 0
    assert "overlap" in done.stderr.lower()


def test_a_network_in_use_stays(sh: Shell) -> None:
    sh.docker("network", "create", "busy")
    try:
        sh.docker("run", "-d", "--name", "user", "--network", "busy", "busybox", "sleep", "1000")
        done = sh.docker("network", "rm", "busy", ok=False)
        assert "has active endpoints" in done.stderr
        sh.docker("rm", "-f", "user")
    finally:
        sh.docker("network", "rm", "busy")


def test_fixed_address_and_extra_hosts(sh: Shell) -> None:
    sh.docker("network", "create", "--subnet", "10.199.7.0/24", "fixed")
    try:
        out = sh.docker(
            "run", "--rm", "--network", "fixed", "--ip", "10.199.7.77", "--add-host", "far:192.0.2.9",
            "busybox", "sh", "-c", "ip -4 addr show eth0; cat /etc/hosts",
        ).stdout  # fmt: skip
        assert "10.199.7.77/24" in out
        assert "192.0.2.9\tfar" in out
    finally:
        sh.docker("network", "rm", "fixed")
