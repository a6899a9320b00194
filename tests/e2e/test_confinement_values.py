"""Values that would end up as lines of a container's files, and names that no file can have: each
is a 400 that says what is wrong, and nothing is made."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess
from sampan.testing.lab.engine import Api, Refused

LONG = "a" * 5000
LINE = "a\n6.6.6.6 bank.example"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Hostname", LINE),
        ("Domainname", LINE),
        ("Hostname", LONG),
        ("HostConfig.ExtraHosts", ["a:1.2.3.4\n6.6.6.6 b"]),
        ("HostConfig.ExtraHosts", [f"{LINE}:1.2.3.4"]),
        ("HostConfig.ExtraHosts", ["a:nowhere"]),
        ("HostConfig.Dns", ["1.1.1.1\nnameserver 6.6.6.6"]),
        ("HostConfig.Dns", ["dns.example"]),
        ("HostConfig.DnsSearch", [LINE]),
        ("HostConfig.DnsOptions", [LINE]),
        ("HostConfig.SecurityOpt", ["odd=1"]),
        ("HostConfig.SecurityOpt", ["label"]),
        ("HostConfig.SecurityOpt", ["no-new-privileges:maybe"]),
        ("HostConfig.SecurityOpt", ["seccomp=/etc/passwd"]),
        ("HostConfig.SecurityOpt", ["systempaths=open"]),
        ("HostConfig.LogConfig", {"Type": "json-file", "Config": {"path": "/etc/cron.d/x"}}),
        ("HostConfig.LogConfig", {"Type": "local", "Config": {"tag": "../../x"}}),
        ("HostConfig.Binds", ["/tmp/a\0b:/x"]),
        ("HostConfig.IpcMode", "junk"),
        ("HostConfig.PidMode", "junk"),
        ("HostConfig.UTSMode", "junk"),
        ("HostConfig.CgroupnsMode", "junk"),
        ("HostConfig.CapAdd", ["NOSUCH"]),
        ("HostConfig.CapDrop", ["NOSUCH"]),
        ("HostConfig.CpuQuota", -99),
        ("HostConfig.CpusetCpus", "9-1"),
        ("HostConfig.CpusetMems", "x"),
        ("HostConfig.Memory", 10**20),
        ("HostConfig.Ulimits", [{"Name": "nosuch", "Soft": 1, "Hard": 1}]),
        ("HostConfig.Ulimits", [{"Name": "nofile", "Soft": 9, "Hard": 1}]),
        ("HostConfig.DeviceCgroupRules", ["junk"]),
        ("MacAddress", "junk"),
        ("MacAddress", "01:00:00:00:00:01"),
        ("Env", ["A=\0"]),
        ("WorkingDir", "/a\0b"),
    ],
)
def test_a_value_is_refused_at_create(daemon: DaemonProcess, field: str, value: object) -> None:
    section, _, name = field.rpartition(".")
    body: dict[str, Any] = {"Image": "busybox", "Cmd": ["true"]}
    (body.setdefault(section, {}) if section else body)[name] = value
    with pytest.raises(Refused) as refused:
        Api(daemon.socket).call("POST", "/containers/create", body)
    assert refused.value.status == 400, refused.value
    assert Api(daemon.socket).call("GET", "/containers/json", all="1") == []


@pytest.mark.parametrize("name", [LONG, "a" * 300, "a\0b", "a/../b", "a\nb"])
def test_a_name_is_refused(daemon: DaemonProcess, sh: Shell, name: str) -> None:
    api = Api(daemon.socket)
    sh.docker("create", "--name", "named", "busybox")
    for method, path, body, query in (
        ("POST", "/containers/create", {"Image": "busybox"}, {"name": name}),
        ("POST", "/containers/named/rename", None, {"name": name}),
        ("POST", "/volumes/create", {"Name": name}, {}),
        ("POST", "/images/busybox/tag", None, {"repo": name}),
    ):
        with pytest.raises(Refused) as refused:
            api.call(method, path, body, **query)
        assert refused.value.status == 400, (path, refused.value)


def test_labels_of_another_system_are_named(daemon: DaemonProcess) -> None:
    body = {"Image": "busybox", "HostConfig": {"SecurityOpt": ["label=type:svirt_t"]}}
    created = Api(daemon.socket).call("POST", "/containers/create", body)
    assert "label=type:svirt_t" in json.dumps(created["Warnings"])


def test_what_people_write_is_taken(sh: Shell) -> None:
    hosts = sh.docker(
        "run", "--rm", "--hostname", "web.example.org", "--add-host", "a:1.2.3.4", "--add-host",
        "b:::1", "--dns", "1.1.1.1", "--dns-search", "example.org", "--dns-option", "ndots:2",
        "--security-opt", "label=disable", "--security-opt", "no-new-privileges", "busybox",
        "cat", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
    ).stdout  # fmt: skip
    for line in ("1.2.3.4\ta", "::1\tb", "web.example.org", "search example.org", "ndots:2"):
        assert line in hosts


@pytest.mark.parametrize(
    "endpoint",
    [
        {"Links": ["ww:a\n6.6.6.6 bank.example"]},
        {"Links": [f"{LINE}:a"]},
        {"Aliases": ["a\n6.6.6.6 bank.example"]},
        {"IPAMConfig": {"IPv4Address": "1.2.3.4\n6.6.6.6 b"}},
        {"IPAMConfig": {"IPv4Address": "::1"}},
        {"IPAMConfig": {"IPv6Address": "1.2.3.4"}},
    ],
)
@pytest.mark.parametrize("network", ["bridge", "own"])
def test_an_endpoint_writes_no_line_of_its_own(
    sh: Shell, daemon: DaemonProcess, endpoint: dict[str, object], network: str
) -> None:
    api = Api(daemon.socket)
    sh.docker("network", "create", "own")
    sh.docker("create", "--name", "ww", "busybox")
    body = {
        "Image": "busybox",
        "HostConfig": {"NetworkMode": network},
        "NetworkingConfig": {"EndpointsConfig": {network: endpoint}},
    }
    connect = {"Container": "ww", "EndpointConfig": endpoint}
    try:
        for path, sent in (("/containers/create", body), ("/networks/own/connect", connect)):
            with pytest.raises(Refused) as refused:
                api.call("POST", path, sent)
            assert refused.value.status == 400, refused.value
    finally:
        sh.docker("rm", "-f", "ww")
        sh.docker("network", "rm", "own")


def test_a_body_that_is_cut_off_is_the_clients_mistake(daemon: DaemonProcess) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(daemon.socket))
        client.sendall(
            b"POST /v1.47/containers/create HTTP/1.1\r\nHost: d\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{"
        )
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(4096)
    # An answer, or, when the end is seen first, none: the client has gone for all that is known.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    assert "Traceback" not in daemon.tail()
