"""From ``run``'s command line to the body of the request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sampan.cli.container.create_request import create_body
from sampan.cli.container.run import COMMANDS, failure_code
from sampan.flags import UsageError

ENV = {"HOME": "/home/me", "FROM_ME": "yes"}


def body(line: str | list[str]) -> dict[str, Any]:
    words = line.split() if isinstance(line, str) else line
    args = COMMANDS["run"].parse(words)
    assert args is not None
    return create_body(args, ENV)


def test_flags_behind_the_image_are_the_containers() -> None:
    made = body("--rm img ls -l --name x")
    assert made["Cmd"] == ["ls", "-l", "--name", "x"]
    assert made["HostConfig"]["AutoRemove"] is True


TABLE: list[tuple[str, dict[str, Any]]] = [
    ("-it i", {"Tty": True, "OpenStdin": True, "AttachStdin": True, "StdinOnce": True}),
    ("-d -i i", {"OpenStdin": True, "AttachStdin": False, "StdinOnce": False}),
    ("-d=false i", {"AttachStdout": True}),
    ("-a stdout i", {"AttachStdout": True, "AttachStderr": False}),
    ("-e A=1 -e=B=2 -eC=x=y -e FROM_ME -e NOT i",
     {"Env": ["A=1", "B=2", "C=x=y", "FROM_ME=yes", "NOT"]}),
    ("-l a=b --label c i", {"Labels": {"a": "b", "c": ""}}),
    ("-h host --domainname d -w /w -u 1:2 i",
     {"Hostname": "host", "Domainname": "d", "WorkingDir": "/w", "User": "1:2"}),
    ("--entrypoint= i", {"Entrypoint": [""]}),
    ("--entrypoint /bin/x i y", {"Entrypoint": ["/bin/x"], "Cmd": ["y"]}),
    ("--stop-signal TERM --stop-timeout 3 i", {"StopSignal": "TERM", "StopTimeout": 3}),
    ("--no-healthcheck i", {"Healthcheck": {"Test": ["NONE"]}}),
    ("--health-cmd true --health-interval 2s --health-retries 4 i",
     {"Healthcheck": {"Test": ["CMD-SHELL", "true"], "Interval": 2 * 10**9, "Retries": 4}}),
    ("-p 80 --expose 90-91/udp i",
     {"ExposedPorts": {"80/tcp": {}, "90/udp": {}, "91/udp": {}}}),
    ("-v /data i", {"Volumes": {"/data": {}}}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), TABLE)
def test_config(line: str, expected: dict[str, Any]) -> None:
    made = body(line)
    assert {key: made.get(key) for key in expected} == expected


HOST: list[tuple[str, dict[str, Any]]] = [
    ("-p 8080:80 i", {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}}),
    ("-p 127.0.0.1::80/udp i",
     {"PortBindings": {"80/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}}),
    ("-p [::1]:1:2 i", {"PortBindings": {"2/tcp": [{"HostIp": "::1", "HostPort": "1"}]}}),
    ("-p 1-2:3-4 i", {"PortBindings": {"3/tcp": [{"HostIp": "", "HostPort": "1"}],
                                       "4/tcp": [{"HostIp": "", "HostPort": "2"}]}}),
    ("-p 8000-8010:80 i", {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8000-8010"}]}}),
    ("-P i", {"PublishAllPorts": True}),
    ("-v a:/b:ro -v /c:/d i", {"Binds": ["a:/b:ro", "/c:/d"]}),
    ("-m 1g --memory-swap -1 --cpus 1.5 --cpu-shares 5 --pids-limit 9 --shm-size 64m i",
     {"Memory": 1 << 30, "MemorySwap": -1, "NanoCpus": 1500000000, "CpuShares": 5, "PidsLimit": 9,
      "ShmSize": 64 << 20}),
    ("--cap-add A --cap-add B --cap-drop ALL --privileged --read-only --init i",
     {"CapAdd": ["A", "B"], "CapDrop": ["ALL"], "Privileged": True, "ReadonlyRootfs": True,
      "Init": True}),
    ("--restart on-failure:3 i", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}}),
    ("--ulimit nofile=1:2 --ulimit core=0 i",
     {"Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2},
                  {"Name": "core", "Soft": 0, "Hard": 0}]}),
    ("--device /a --device /b:/c:r i",
     {"Devices": [{"PathOnHost": "/a", "PathInContainer": "/a", "CgroupPermissions": "rwm"},
                  {"PathOnHost": "/b", "PathInContainer": "/c", "CgroupPermissions": "r"}]}),
    ("--tmpfs /t:size=1m --tmpfs /u i", {"Tmpfs": {"/t": "size=1m", "/u": ""}}),
    ("--sysctl a.b=1 --dns 1.1.1.1 --dns-opt x --add-host h:1 i",
     {"Sysctls": {"a.b": "1"}, "Dns": ["1.1.1.1"], "DnsOptions": ["x"], "ExtraHosts": ["h:1"]}),
    ("--log-driver json-file --log-opt max-size=1m i",
     {"LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}}),
    ("--security-opt no-new-privileges --security-opt seccomp=unconfined "
     "--security-opt label:disable i",
     {"SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "label=disable"]}),
    ("--security-opt systempaths=unconfined i", {"MaskedPaths": [], "ReadonlyPaths": []}),
    ("--mount type=bind,src=/a,dst=/b,readonly,bind-propagation=rshared i",
     {"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": True,
                  "BindOptions": {"Propagation": "rshared"}}]}),
    ("--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770 i",
     {"Mounts": [{"Type": "tmpfs", "Target": "/t",
                  "TmpfsOptions": {"SizeBytes": 1 << 20, "Mode": 0o1770}}]}),
    ("--gpus all i", {"DeviceRequests": [{"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}]}),
    ("--network n i", {"NetworkMode": "n"}),
    ("i", {"NetworkMode": "default"}),
    ("--pid host --ipc host --uts host --userns host i",
     {"PidMode": "host", "IpcMode": "host", "UTSMode": "host", "UsernsMode": "host"}),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), HOST)
def test_host_config(line: str, expected: dict[str, Any]) -> None:
    made = body(line)["HostConfig"]
    assert {key: made.get(key) for key in expected} == expected


def test_networks() -> None:
    made = body("--network a --network-alias x --ip 10.0.0.5 i")
    assert made["NetworkingConfig"]["EndpointsConfig"] == {
        "a": {"Aliases": ["x"], "IPAMConfig": {"IPv4Address": "10.0.0.5"}}
    }
    made = body("--network name=a,alias=x,alias=y,driver-opt=k=v --network b i")
    assert made["HostConfig"]["NetworkMode"] == "a"
    assert made["NetworkingConfig"]["EndpointsConfig"] == {
        "a": {"Aliases": ["x", "y"], "DriverOpts": {"k": "v"}},
        "b": {},
    }


def test_files(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# c\nA=1 # kept\n\n  B=\nFROM_ME\nNOT_SET\n")
    (tmp_path / "labels").write_text("a=b\n# c\n")
    (tmp_path / "seccomp").write_text("{}")
    made = body(
        [
            "--env-file", f"{tmp_path}/env", "-e", "A=2", "--label-file", f"{tmp_path}/labels",
            "--security-opt", f"seccomp={tmp_path}/seccomp", "i",
        ]
    )  # fmt: skip
    assert made["Env"] == ["A=1 # kept", "B=", "FROM_ME=yes", "A=2"]
    assert made["Labels"] == {"a": "b"}
    assert made["HostConfig"]["SecurityOpt"] == ["seccomp={}"]


@pytest.mark.parametrize(
    "line",
    [
        "-p x i", "-p 1:2:3:4 i", "-p 99999 i", "-p 1-3:1-2 i", "-p 80/xyz i", "-v a i", "-v a:b i",
        "-m 1q i", "--cpus x i", "--ulimit x i", "--restart sometimes i", "--mount type=bind i",
        "--mount nope=1 i", "--rm --restart always i", "-d -a stdout i", "-a nope i", "-e =x i",
        "--security-opt nope i", "--security-opt seccomp=/no/such i", "--env-file /no/such i",
        "--network alias=x i", "--health-cmd x --no-healthcheck i", "--health-interval 5 i",
    ],
)  # fmt: skip
def test_values_that_make_no_sense(line: str) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        body(line)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "requires at least 1 argument"),
        ("--nmae x i", "did you mean --name"),
        ("-Z i", "unknown shorthand flag: 'Z'"),
        ("--name", "flag needs an argument: --name"),
        ("--rm=perhaps i", "invalid argument"),
        ("--stop-timeout x i", "invalid argument"),
    ],
)
def test_usage_errors(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        body(line)


def test_help_is_asked_for_before_the_image_only() -> None:
    assert COMMANDS["run"].parse(["--help"]) is None
    args = COMMANDS["run"].parse(["img", "--help"])
    assert args is not None
    assert args.rest == ["img", "--help"]
    assert "--network" in COMMANDS["run"].help()


def test_exit_codes() -> None:
    assert failure_code('exec: "x": executable file not found in $PATH') == 127
    assert failure_code("exec: permission denied") == 126
    assert failure_code("Conflict. The name is in use") == 125
