"""Wire <-> records, by tables."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from sampan.api.translate import create, hostconfig
from sampan.api.translate.container import HostSide, inspect, ports_out, state, state_name
from sampan.api.translate.mounts import all_mounts, parse_bind
from sampan.api.translate.summary import Summaries, command_text, ports, status_text
from sampan.api.types import containers as wire
from sampan.api.types.hostconfig import HostConfig
from sampan.errors import InvalidArgument, SampanError
from sampan.store.records import Container, ContainerSpec, Health, Mount, Phase, PublishedPort, Run


def request(body: dict[str, object]) -> create.CreateRequest:
    decoded = wire.CREATE_DECODER.decode(msgspec.json.encode({"Image": "busybox", **body}))
    return create.request(decoded, name="", platform="")


def test_nulls_are_what_was_not_said() -> None:
    nulls = dict.fromkeys(("Cmd", "Env", "Volumes", "Entrypoint", "OnBuild", "Labels"))
    hosts = dict.fromkeys(("Binds", "PortBindings", "CapAdd", "Dns", "LogConfig"))
    made = request({**nulls, "HostConfig": hosts, "NetworkingConfig": None})
    assert made.spec.cmd is None
    assert made.spec.entrypoint is None
    assert not made.entrypoint_reset
    assert made.spec.host.network_mode == "bridge"
    assert made.spec.host.log_config.type == "", "the daemon's default"


@pytest.mark.parametrize(
    ("entrypoint", "record", "reset"),
    [
        (None, None, False),
        ([], None, True),
        ([""], ("",), True),
        ("sh", ("sh",), False),
        (["a", "b"], ("a", "b"), False),
    ],
)
def test_entrypoints(entrypoint: object, record: object, reset: bool) -> None:
    made = request({"Entrypoint": entrypoint})
    assert (made.spec.entrypoint, made.entrypoint_reset) == (record, reset)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("/a:/b", Mount(type="bind", source="/a", target="/b", create_source=True)),
        ("vv:/b", Mount(type="volume", source="vv", target="/b")),
        (
            "/a:/b/:ro,rslave",
            Mount(
                type="bind",
                source="/a",
                target="/b",
                create_source=True,
                read_only=True,
                mode="ro,rslave",
                propagation="rslave",
            ),
        ),
        (
            "vv:/b:nocopy",
            Mount(type="volume", source="vv", target="/b", no_copy=True, mode="nocopy"),
        ),
        ("/b", Mount(type="volume", target="/b")),
    ],
)
def test_binds(written: str, expected: Mount) -> None:
    assert parse_bind(written) == expected


@pytest.mark.parametrize(
    "written", ["", ":", "a:b:c:d", "/a:b", "/a:/", "/a:/b:wat", "v v:/b", "/a:/b/../..", "::"]
)
def test_bad_binds(written: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_bind(written)


def test_a_target_is_mounted_once_and_volumes_give_way() -> None:
    host = HostConfig(binds=["/x:/data"])
    assert [m.type for m in all_mounts(host, ["/data"], volume_driver="")] == ["bind"]
    with pytest.raises(InvalidArgument, match="Duplicate mount point: /data"):
        all_mounts(HostConfig(binds=["/x:/data", "v1:/data"]), [], volume_driver="")


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        ({"Memory": 1024}, "Minimum memory limit allowed is 6MB"),
        ({"RestartPolicy": {"Name": "sometimes"}}, "unknown policy"),
        ({"AutoRemove": True, "RestartPolicy": {"Name": "always"}}, "AutoRemove"),
        ({"PortBindings": {"http": []}}, "invalid port specification"),
        ({"Mounts": [{"Type": "wat", "Target": "/x"}]}, "mount type unknown"),
        ({"Mounts": [{"Type": "bind", "Target": "/x"}]}, "field Source must not be empty"),
        ({"DeviceRequests": [{"Count": -1, "Capabilities": [["gpu"]]}]}, "could not select device"),
        ({"OomScoreAdj": 5000}, "oom score"),
        ({"ExtraHosts": ["nonsense"]}, "bad format for add-host"),
    ],
)
def test_refused(host: dict[str, object], sentence: str) -> None:
    with pytest.raises(SampanError, match=sentence):
        request({"HostConfig": host})


def test_ports_are_normal_and_free_ones_are_bound() -> None:
    made = request(
        {"ExposedPorts": {"80": {}, "53/udp": {}}, "HostConfig": {"PortBindings": {"80/TCP": []}}}
    )
    assert made.spec.exposed_ports == ("80/tcp", "53/udp")
    assert [*made.spec.host.port_bindings] == ["80/tcp"]
    assert len(made.spec.host.port_bindings["80/tcp"]) == 1


def test_the_old_mac_address_goes_to_the_first_network() -> None:
    made = request({"MacAddress": "02:42:ac:11:00:09"})
    assert made.networks["bridge"].mac_wanted == "02:42:ac:11:00:09"


def container(run: Run | None = None, **fields: object) -> Container:
    return Container(
        id="a" * 64,
        name="n",
        created_at=100.0,
        image_id="sha256:x",
        spec=fields.pop("spec", ContainerSpec(image="busybox", args=("sh", "-c", "a b"))),  # type: ignore[arg-type]
        run=run,
        **fields,  # type: ignore[arg-type]
    )


RUNNING = Run(number=1, phase=Phase.RUNNING, pid=42, started_at=1000.0)
EXITED = Run(number=1, phase=Phase.STOPPED, started_at=1000.0, finished_at=1090.0, exit_code=3)


@pytest.mark.parametrize(
    ("made", "word", "text"),
    [
        (container(), "created", "Created"),
        (container(RUNNING), "running", "Up 2 minutes"),
        (
            container(msgspec.structs.replace(RUNNING, paused=True)),
            "paused",
            "Up 2 minutes (Paused)",
        ),
        (
            container(msgspec.structs.replace(RUNNING, health=Health(status="starting"))),
            "running",
            "Up 2 minutes (health: starting)",
        ),
        (
            container(msgspec.structs.replace(RUNNING, health=Health(status="healthy"))),
            "running",
            "Up 2 minutes (healthy)",
        ),
        (container(EXITED), "exited", "Exited (3) 30 seconds ago"),
        (container(EXITED, dead=True), "dead", "Dead"),
        (container(EXITED, removing=True), "removing", "Removal In Progress"),
    ],
)
def test_states(made: Container, word: str, text: str) -> None:
    assert (state_name(made), status_text(made, 1120.0)) == (word, text)


def test_ports_show_only_while_running() -> None:
    spec = ContainerSpec(image="x", args=(), exposed_ports=("80/tcp", "81/tcp"))
    port = PublishedPort(container_port=80, protocol="tcp", host_ip="0.0.0.0", host_port=8080)
    shown = ports_out(container(RUNNING, spec=spec, ports=(port,)))
    assert msgspec.to_builtins(shown) == {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}],
        "81/tcp": None,
    }
    assert ports_out(container(EXITED, spec=spec)) == {}


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_of_a_record_that_was_read_again_says_its_protocol(protocol: str) -> None:
    document = {"container_port": 80, "protocol": protocol, "host_ip": "::", "host_port": 8080}
    port = msgspec.json.decode(msgspec.json.encode(document), type=PublishedPort)
    rows = ports(container(RUNNING, ports=(port,)))
    assert msgspec.json.decode(msgspec.json.encode(rows)) == [
        {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": protocol}
    ]


def test_inspect_has_dockers_zero_values() -> None:
    host = HostSide(
        storage_driver="overlay2",
        directory=Path("/var/lib/x"),
        sandbox=Path("/run/x"),
        log_path="",
        default_runtime="crun",
        default_shm_bytes=64 << 20,
    )
    body = inspect(container(), host, network_id=lambda _: "")
    plain = msgspec.json.decode(msgspec.json.encode(body))
    assert plain["State"]["StartedAt"] == "0001-01-01T00:00:00Z"
    assert plain["Path"] == "sh"
    assert plain["Args"] == ["-c", "a b"]
    host = plain["HostConfig"]
    assert host["Binds"] is None
    assert host["PortBindings"] == {}
    assert host["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert host["ShmSize"] == 64 << 20
    assert plain["Mounts"] == []
    assert plain["NetworkSettings"]["Ports"] == {}
    assert "Tmpfs" not in host
    assert plain["Config"]["Volumes"] is None


def test_what_create_takes_inspect_gives_back() -> None:
    host = {
        "Binds": ["/a:/b:ro"],
        "Memory": 64 << 20,
        "CapAdd": ["NET_ADMIN"],
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]},
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "Tmpfs": {"/run": "size=1m"},
        "Sysctls": {"net.core.somaxconn": "10"},
        "Ulimits": [{"Name": "nofile", "Hard": 20, "Soft": 10}],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
        "Init": True,
        "Mounts": [{"Type": "volume", "Source": "vol", "Target": "/v", "ReadOnly": True}],
    }
    made = request({"HostConfig": host})
    out = hostconfig.out(made.spec, default_runtime="crun", default_shm=1)
    plain = msgspec.json.decode(msgspec.json.encode(out))
    assert {name: plain[name] for name in host} == host


def test_a_row_is_kept_as_long_as_its_record() -> None:
    rows = Summaries()
    one = container(RUNNING)
    first = rows.row(one, 1001.0, lambda _: "")
    assert rows.row(one, 1120.0, lambda _: "") is first
    assert first.status == "Up 2 minutes"
    assert rows.row(container(EXITED), 1120.0, lambda _: "") is not first


def test_command_lines_are_quoted() -> None:
    assert command_text(("sh", "-c", "echo hi")) == "sh -c 'echo hi'"


def test_state_of_a_running_container() -> None:
    shown = state(container(RUNNING))
    assert (shown.running, shown.pid, shown.finished_at) == (True, 42, "0001-01-01T00:00:00Z")
