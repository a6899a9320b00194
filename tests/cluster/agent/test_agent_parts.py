"""The pure parts of the agent, and its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.cluster.agent.container import names_of, request_of
from sampan.cluster.agent.contract import Supplies, TaskPlace
from sampan.cluster.agent.files import DiskFiles, Memory
from sampan.cluster.agent.listening import parse_sockets
from sampan.cluster.agent.networks import network_of
from sampan.cluster.agent.payloads import PayloadFiles
from sampan.cluster.agent.runner import status_on_return
from sampan.cluster.protocol.messages import Assignment, NodeAddress, Payload
from sampan.cluster.records import ClusterNetwork, NodeDescription, TaskAttachment, TaskStatus
from sampan.cluster.spec import (
    AppArmorOptions,
    ConfigReference,
    ContainerSpec,
    DnsConfig,
    Driver,
    EndpointSpec,
    FileTarget,
    Limit,
    Mount,
    NetworkAttachmentConfig,
    NetworkSpec,
    PortConfig,
    Privileges,
    ResourceRequirements,
    Resources,
    SecretReference,
    TaskSpec,
    Ulimit,
)
from sampan.cluster.states import TaskState
from sampan.errors import InvalidArgument, Unsupported
from sampan.store.records import PortBinding

S = TaskState
HERE = NodeDescription(hostname="here")


def assignment(spec: ContainerSpec | None = None, **fields: object) -> Assignment:
    of_task = {k: fields.pop(k) for k in list(fields) if k in TaskSpec.__struct_fields__}
    return Assignment(
        id="t1",
        service_id="s1",
        service_name="web",
        slot=3,
        node_id="n1",
        spec=TaskSpec(
            container_spec=spec or ContainerSpec(image="img"),
            **of_task,  # type: ignore[arg-type]
        ),
        **fields,  # type: ignore[arg-type]
    )


def test_a_task_becomes_a_container() -> None:
    spec = ContainerSpec(
        image="img:1@sha256:00",
        command=("/entry",),
        args=("a", "b"),
        env=("A={{.Task.Slot}}",),
        user="u",
        groups=("g",),
        dir="/d",
        hosts=("10.0.0.1 one two",),
        stop_signal="SIGINT",
        stop_grace_period=1_500_000_000,
        init=True,
        read_only=True,
        capability_add=("NET_ADMIN",),
        capability_drop=("ALL",),
        ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
        sysctls={"a": "b"},
        dns_config=DnsConfig(nameservers=("1.1.1.1",), search=("x",), options=("y",)),
        oom_score_adj=7,
        tty=True,
        privileges=Privileges(no_new_privileges=True, app_armor=AppArmorOptions(mode="disabled")),
    )
    task = assignment(
        spec,
        log_driver=Driver(name="local", options={"max-size": "1m"}),
        resources=ResourceRequirements(
            limits=Limit(nano_cpus=5, memory_bytes=6, pids=7),
            reservations=Resources(memory_bytes=4),
        ),
        endpoint=EndpointSpec(
            ports=(
                PortConfig(
                    protocol="udp", target_port=53, published_port=5353, publish_mode="host"
                ),
                PortConfig(protocol="tcp", target_port=80, published_port=8080),
            )
        ),
        attachments=(
            TaskAttachment(network_id="net1", ipv4="10.1.0.3", prefix=24, aliases=("alias",)),
            TaskAttachment(network_id="net2", ipv4="10.2.0.3", prefix=24),
        ),
    )
    request = request_of(task, "sha256:id", names_of(task, HERE), ())
    assert request.name == "web.3.t1"
    assert request.image_id == "sha256:id"
    made, host = request.spec, request.spec.host
    assert made.image == "img:1@sha256:00"
    assert (made.entrypoint, made.cmd) == (("/entry",), ("a", "b"))
    assert made.env == ("A=3",)
    assert made.stop_timeout_s == 2
    assert host.network_mode == "net1"
    assert [e.ipv4_wanted for e in request.networks.values()] == ["10.1.0.3", "10.2.0.3"]
    assert request.networks["net1"].aliases == ()
    assert host.port_bindings == {"53/udp": (PortBinding(host_port="5353"),)}
    assert host.extra_hosts == ("one:10.0.0.1", "two:10.0.0.1")
    assert host.security_opt == ("no-new-privileges", "apparmor=unconfined")
    assert host.resources.nano_cpus == 5
    assert host.resources.memory == 6
    assert host.resources.memory_reservation == 4
    assert host.resources.pids_limit == 7
    assert host.log_config.type == "local"
    assert host.init
    assert host.restart_policy.name == ""


@pytest.mark.parametrize("name", ["host", "none", "bridge"])
def test_predefined_networks(name: str) -> None:
    task = assignment(networks=(NetworkAttachmentConfig(target=name),))
    request = request_of(task, "i", names_of(task, HERE), ())
    assert request.spec.host.network_mode == name
    assert not request.networks


def test_what_cannot_be_a_container() -> None:
    for spec, error in (
        (ContainerSpec(hosts=("lonely",)), InvalidArgument),
        (ContainerSpec(mounts=(Mount(type="npipe", target="/x"),)), Unsupported),
    ):
        task = assignment(spec)
        with pytest.raises(error):
            request_of(task, "i", names_of(task, HERE), ())


def test_the_engines_record_of_a_network() -> None:
    record = ClusterNetwork(
        id="n",
        spec=NetworkSpec(name="net", labels={"a": "b"}, options={"o": "p"}, attachable=True),
        vni=4100,
        subnet="10.1.0.0/24",
        gateway="10.1.0.1/24",
    )
    made = network_of(record)
    assert made.driver == "overlay"
    assert made.scope == "swarm"
    assert made.pools[0].gateway == "10.1.0.1"
    assert made.options == {"o": "p", "com.docker.network.driver.overlay.vxlanid_list": "4100"}


def running(**fields: object) -> TaskPlace:
    return TaskPlace(container_id="c", phase="running", pid=9, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("observed", "saved", "place", "state"),
    [
        (S.ASSIGNED, None, None, S.ASSIGNED),
        (S.PREPARING, None, None, S.ASSIGNED),
        (S.READY, None, TaskPlace(container_id="c", phase="created"), S.READY),
        (S.RUNNING, None, running(), S.RUNNING),
        (S.ASSIGNED, None, running(), S.STARTING),
        (S.RUNNING, None, TaskPlace(container_id="c", phase="ended"), S.RUNNING),
        (S.RUNNING, None, None, S.FAILED),
        (S.FAILED, None, None, S.FAILED),
        (S.RUNNING, TaskStatus(state=S.REJECTED), None, S.REJECTED),
    ],
)
def test_where_a_task_is_taken_up(
    observed: TaskState, saved: TaskStatus | None, place: TaskPlace | None, state: TaskState
) -> None:
    task = assignment(observed=observed, desired=S.RUNNING)
    assert status_on_return(task, saved, place, 5.0).state is state


def test_a_vanished_task_that_should_stop_has_stopped() -> None:
    task = assignment(observed=S.RUNNING, desired=S.SHUTDOWN)
    assert status_on_return(task, None, None, 5.0).state is S.SHUTDOWN


def test_listening_sockets() -> None:
    table = (
        b"  sl  local_address rem_address   st tx_queue rx_queue\n"
        b"   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n"
        b"   1: 0100007F:0050 0100007F:9C40 01 00000000:00000000 00:00000000 00000000\n"
    )
    assert parse_sockets(table, listening_only=True) == {8080}
    assert parse_sockets(table, listening_only=False) == {8080, 80}


async def test_memory_on_disk(tmp_path: Path) -> None:
    files = DiskFiles(tmp_path / "cluster")
    assert await files.load() == Memory()
    memory = Memory(
        managers=(NodeAddress(node_id="m", address="a:1"),),
        tasks=(assignment(),),
        statuses={"t1": TaskStatus(state=S.FAILED, err="x")},
        networks=(ClusterNetwork(id="n", vni=4100),),
    )
    await files.save(memory)
    assert await DiskFiles(tmp_path / "cluster").load() == memory
    assert (tmp_path / "cluster" / "agent.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "cluster" / "agent.json").write_bytes(b"{torn")
    assert await files.load() == Memory()
    await files.forget()
    await files.forget()


def test_payloads_are_rendered_owned_and_taken_away(tmp_path: Path) -> None:
    # As a daemon's state directory is: in memory, so that nothing needs to be mounted.
    state = Path("/dev/shm") / f"sampan-test-{tmp_path.name}"
    state.mkdir()
    files = PayloadFiles(state)
    spec = ContainerSpec(
        env=("WHO=world",),
        secrets=(
            SecretReference(
                file=FileTarget(name="key", mode=0o400), secret_id="s", secret_name="key"
            ),
        ),
        configs=(ConfigReference(file=FileTarget(name="/etc/c"), config_id="c", config_name="c"),),
    )
    task = assignment(spec)
    supplies = Supplies(
        secrets={"s": Payload(id="s", name="key", data=b"\x00raw")},
        configs={
            "c": Payload(
                id="c",
                name="c",
                data=b'hello {{env "WHO"}} of {{.Service.Name}}',
                templating=Driver(name="golang"),
            )
        },
    )
    try:
        made = files.write(task, supplies, names_of(task, HERE))
        assert [file.target for file in made] == ["/run/secrets/key", "/etc/c"]
        assert Path(made[0].source).read_bytes() == b"\x00raw"
        assert Path(made[0].source).stat().st_mode & 0o777 == 0o400
        assert Path(made[1].source).read_bytes() == b"hello world of web"
        assert Path(made[1].source).stat().st_mode & 0o777 == 0o444
        assert (state / "payloads" / "t1").stat().st_mode & 0o777 == 0o700
        with pytest.raises(InvalidArgument, match="secret key not found"):
            files.write(task, Supplies(), names_of(task, HERE))
        files.sweep({"t1"})
        assert Path(made[0].source).exists()
        files.sweep(set())
        assert not (state / "payloads").exists()
    finally:
        files.remove("t1")
        state.rmdir()
