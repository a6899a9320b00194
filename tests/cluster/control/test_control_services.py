"""What may be asked of a service, and what may not, without any API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sampan.cluster import placement
from sampan.cluster import spec as s
from sampan.cluster.contract import Draft, NoSuchObject, OutOfSequence
from sampan.cluster.control import data, networks, nodes, normalize, services
from sampan.cluster.control.explain import explain
from sampan.cluster.control.references import HostNetwork, no_local_networks
from sampan.cluster.control.validate import check_service
from sampan.cluster.errors import Exists, LocalNetwork, NotDone, Precondition, Refused
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.node.contract import InitRequest
from sampan.cluster.records import Service, Task, TaskStatus
from sampan.cluster.states import TaskState
from sampan.errors import Conflict
from sampan.testing.clock import FakeClock
from sampan.testing.cluster_store import MemoryCluster
from sampan.testing.membership import FakeMembership, node_record

NOW = 1_700_000_000.0


def spec(**fields: Any) -> s.ServiceSpec:
    """Docker's JSON, with an image where nothing else is said."""
    template = fields.pop("TaskTemplate", {})
    container = {"Image": "busybox", **fields.pop("ContainerSpec", {})}
    raw = {"Name": "web", "TaskTemplate": {"ContainerSpec": container, **template}, **fields}
    return msgspec.convert(raw, s.ServiceSpec)


@pytest.fixture
async def two() -> AsyncIterator[tuple[ManagerParts, ManagerParts]]:
    """Two managers of one cluster."""
    clock = FakeClock()
    async with MemoryCluster(clock) as hub:
        first = FakeMembership(await hub.store(), clock)
        await first.init(InitRequest())
        parts = first.manager
        other = ManagerParts(node_id="", store=await hub.store(), sealing=first.box)
        await other.store.barrier()
        yield parts, other


@pytest.fixture
def parts(two: tuple[ManagerParts, ManagerParts]) -> ManagerParts:
    return two[0]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"ContainerSpec": {"Image": ""}}, "ContainerSpec: image reference must be provided"),
        ({"ContainerSpec": {"Image": "B:!"}}, "is not a valid repository/tag"),
        ({"Name": "a.b"}, "name must be valid as a DNS name component"),
        ({"Name": "a" * 64}, "name must be 63 characters or fewer"),
        ({"Mode": {"Replicated": {"Replicas": -1}}}, "replicas cannot be negative"),
        ({"Mode": {"Replicated": {}, "Global": {}}}, "replicated and global"),
        ({"TaskTemplate": {"Resources": {"Limits": {"NanoCPUs": 1}}}}, "invalid cpu value 1e-09"),
        (
            {"TaskTemplate": {"Resources": {"Limits": {"MemoryBytes": 1}}}},
            "invalid memory value 1: Must be at least 4MiB",
        ),
        (
            {
                "TaskTemplate": {
                    "Resources": {
                        "Limits": {"MemoryBytes": 8 << 20},
                        "Reservations": {"MemoryBytes": 16 << 20},
                    }
                }
            },
            "above the limit",
        ),
        ({"TaskTemplate": {"RestartPolicy": {"Delay": -1}}}, "restart-delay cannot be negative"),
        ({"TaskTemplate": {"RestartPolicy": {"Condition": "x"}}}, "invalid RestartCondition"),
        ({"TaskTemplate": {"Placement": {"Constraints": ["a"]}}}, "one operator from ==, !="),
        ({"TaskTemplate": {"Placement": {"Constraints": ["?==a"]}}}, "key '?' is invalid"),
        ({"TaskTemplate": {"Placement": {"Constraints": ["node.id=="]}}}, "value '' is invalid"),
        (
            {"Labels": {"io.sampan.strategy": "tetris"}},
            "no scheduling strategy 'tetris' (label io.sampan.strategy): choose one of binpack, "
            "random, spread",
        ),
        ({"UpdateConfig": {"Delay": -1}}, "update-delay cannot be negative"),
        ({"UpdateConfig": {"MaxFailureRatio": 1.5}}, "update-maxfailureratio"),
        ({"RollbackConfig": {"Monitor": -1}}, "update-monitor cannot be negative"),
        (
            {"ContainerSpec": {"Mounts": [{"Target": "/a", "Source": "/b"}] * 2}},
            "ContainerSpec: duplicate mount point: /a",
        ),
        (
            {"ContainerSpec": {"Mounts": [{"Target": "/a", "Source": "b"}]}},
            "invalid bind mount source, must be an absolute path: b",
        ),
        ({"ContainerSpec": {"Mounts": [{"Type": "odd", "Target": "/a"}]}}, "invalid mount type"),
        (
            {"ContainerSpec": {"Healthcheck": {"Interval": 5}}},
            "Interval in HealthConfig cannot be less than 1ms",
        ),
        (
            {"ContainerSpec": {"Hostname": "{{.Bad"}},
            "expanding hostname failed: template: expansion:1: unclosed action",
        ),
        (
            {"ContainerSpec": {"Hostname": "{{.Bad}}-{{.Task.Slot}}"}},
            "expanding hostname failed: template: expansion:1: {{.Bad}} stands for nothing",
        ),
        ({"ContainerSpec": {"Env": ["A={{env"]}}, "expanding env failed: template"),
        (
            {"ContainerSpec": {"Mounts": [{"Type": "volume", "Source": "{{.X}}", "Target": "/a"}]}},
            "expanding mounts failed: template",
        ),
        ({"ContainerSpec": {"Hosts": ["name 10.0.0.1"]}}, "invalid host"),
        (
            {
                "EndpointSpec": {
                    "Mode": "dnsrr",
                    "Ports": [{"TargetPort": 80, "PublishedPort": 80}],
                }
            },
            "port published with ingress mode can't be used with dnsrr mode",
        ),
        (
            {"EndpointSpec": {"Ports": [{"TargetPort": 80, "PublishedPort": 80}] * 2}},
            "duplicate published ports provided",
        ),
        ({"EndpointSpec": {"Ports": [{"TargetPort": 0}]}}, "invalid target port 0"),
        ({"Mode": {"GlobalJob": {}}, "UpdateConfig": {}}, "job-mode services cannot have"),
        (
            {
                "Mode": {"ReplicatedJob": {}},
                "TaskTemplate": {"RestartPolicy": {"Condition": "any"}},
            },
            "would never let them complete",
        ),
    ],
)
def test_what_is_refused(asked: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refused) as caught:
        check_service(normalize.service(spec(**asked)))
    assert str(caught.value).startswith("rpc error: code = InvalidArgument desc = ")
    assert sentence in str(caught.value)


def test_dnsrr_may_publish_on_hosts() -> None:
    port = {"TargetPort": 80, "PublishedPort": 80, "PublishMode": "host"}
    check_service(normalize.service(spec(EndpointSpec={"Mode": "dnsrr", "Ports": [port]})))


def test_an_empty_object_says_nothing() -> None:
    said = spec(
        ContainerSpec={"Privileges": {}, "DNSConfig": {}, "Isolation": "default"},
        TaskTemplate={
            "Resources": {"Limits": {}, "Reservations": {}},
            "Placement": {},
            "RestartPolicy": {},
            "Runtime": "container",
        },
    )
    assert normalize.service(said) == normalize.service(spec())
    # An update of nothing at a time is another than the default one, though.
    assert normalize.service(spec(UpdateConfig={})).update_config == s.UpdateConfig()


@given(st.text(max_size=20))
def test_constraints_are_parsed_or_refused(text: str) -> None:
    try:
        parsed = placement.parse(text)
    except Refused:
        return
    assert placement.parse(f"{parsed.key}{parsed.operator}{parsed.value}") == parsed


async def test_create_resolves_names(parts: ManagerParts) -> None:
    net = await networks.create(parts, s.NetworkSpec(name="back"))
    key = await data.create_secret(parts, s.SecretSpec(name="key", data="eA=="))
    made = await services.create(
        parts,
        spec(
            TaskTemplate={"Networks": [{"Target": "back", "Aliases": ["db"]}]},
            ContainerSpec={"Secrets": [{"SecretName": "key", "File": {"Name": "key"}}]},
        ),
        now=NOW,
    )
    task = made.spec.task_template
    assert [(one.target, one.aliases) for one in task.networks] == [(net, ("db",))]
    assert task.container_spec is not None
    assert task.container_spec.secrets[0].secret_id == key
    assert made.spec.mode.replicated == s.ReplicatedMode(replicas=1)
    with pytest.raises(Refused, match="secret 'key' is in use by the following service: web"):
        await data.remove_secret(parts, "key")
    with pytest.raises(Precondition, match="network back is in use by service web"):
        await networks.remove(parts, "back")


async def test_unknown_names(parts: ManagerParts) -> None:
    with pytest.raises(NoSuchObject, match="network x not found"):
        await services.create(parts, spec(TaskTemplate={"Networks": [{"Target": "x"}]}), now=NOW)
    file = {"Name": "f"}
    two = [{"SecretName": name, "File": {"Name": name}} for name in ("a", "b")]
    with pytest.raises(Refused, match="secrets not found: a, b"):
        await services.create(parts, spec(ContainerSpec={"Secrets": two}), now=NOW)
    config = [{"ConfigName": "c", "File": file}]
    with pytest.raises(Refused, match="config not found: c"):
        await services.create(parts, spec(ContainerSpec={"Configs": config}), now=NOW)
    with pytest.raises(LocalNetwork, match="The network lan cannot be used with services"):
        await services.create(
            parts,
            spec(TaskTemplate={"Networks": [{"Target": "lan"}]}),
            now=NOW,
            local=lambda name: HostNetwork(name, predefined=False),
        )
    with pytest.raises(Refused, match="ingress network"):
        await services.create(
            parts, spec(TaskTemplate={"Networks": [{"Target": "ingress"}]}), now=NOW
        )
    assert not parts.store.state.services


async def test_a_config_that_was_removed_does_not_come_back_by_rollback(
    parts: ManagerParts,
) -> None:
    await data.create_config(parts, s.ConfigSpec(name="c", data="eA=="))
    with_config = {"Configs": [{"ConfigName": "c", "File": {"Name": "c"}}]}
    made = await services.create(parts, spec(ContainerSpec=with_config), now=NOW)
    await services.update(parts, "web", made.version, spec(), now=NOW)
    await data.remove_config(parts, "c")
    version = parts.store.state.services[made.id].version
    with pytest.raises(Refused, match="config not found: c"):
        await services.rollback(parts, "web", version, now=NOW, local=no_local_networks)


async def test_update_and_rollback(parts: ManagerParts) -> None:
    made = await services.create(parts, spec(), now=NOW)
    with pytest.raises(Precondition, match="does not have a previous spec"):
        await services.rollback(parts, "web", made.version, now=NOW, local=no_local_networks)
    newer = spec(ContainerSpec={"Image": "busybox:2"})
    await services.update(parts, "web", made.version, newer, now=NOW)
    with pytest.raises(OutOfSequence):
        await services.update(parts, "web", made.version, newer, now=NOW)
    service = parts.store.state.services[made.id]
    assert service.previous_spec == made.spec
    await services.rollback(parts, "web", service.version, now=NOW, local=no_local_networks)
    service = parts.store.state.services[made.id]
    assert service.spec == made.spec
    assert service.spec_version == 3
    assert service.update_status is not None
    assert service.update_status.state == "rollback_started"
    with pytest.raises(NotDone, match="service mode change is not allowed"):
        await services.update(parts, "web", service.version, spec(Mode={"Global": {}}), now=NOW)


async def test_a_job_runs_again_when_what_it_runs_changes(parts: ManagerParts) -> None:
    job = {"Mode": {"ReplicatedJob": {"TotalCompletions": 2}}}
    made = await services.create(parts, spec(**job), now=NOW)

    async def change(**fields: Any) -> Service:
        version = parts.store.state.services[made.id].version
        await services.update(parts, "web", version, spec(**job, **fields), now=NOW + 1)
        return parts.store.state.services[made.id]

    labelled = await change(Labels={"a": "b"})
    assert labelled.job_status == made.job_status
    forced = await change(TaskTemplate={"ForceUpdate": 1})
    assert forced.job_status is not None
    assert (forced.job_status.iteration, forced.job_status.last_execution) == (1, NOW + 1)


async def test_one_port_has_one_service_whoever_is_asked(
    two: tuple[ManagerParts, ManagerParts],
) -> None:
    def ports(mode: str, published: int = 80) -> dict[str, Any]:
        port = {"TargetPort": 80, "PublishedPort": published, "PublishMode": mode}
        return {"EndpointSpec": {"Ports": [port]}}

    outcomes = await asyncio.gather(
        *(
            services.create(manager, spec(Name=name, **ports("ingress")), now=NOW)
            for manager, name in zip(two, ("one", "other"), strict=True)
        ),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refused) == 1
    assert "port '80' is already in use by service" in str(refused[0])
    with pytest.raises(Refused, match="as an ingress port"):
        await services.create(two[0], spec(Name="host", **ports("host")), now=NOW)
    await services.create(two[0], spec(Name="a", **ports("host", 81)), now=NOW)
    await services.create(two[0], spec(Name="b", **ports("host", 81)), now=NOW)
    with pytest.raises(Refused, match="as a host-published port"):
        await services.create(two[0], spec(Name="c", **ports("ingress", 81)), now=NOW)
    udp = {"TargetPort": 80, "PublishedPort": 80, "Protocol": "udp"}
    await services.create(two[0], spec(Name="d", EndpointSpec={"Ports": [udp]}), now=NOW)


async def test_a_secret_is_not_removed_while_a_service_takes_it(
    two: tuple[ManagerParts, ManagerParts],
) -> None:
    one, other = two
    await data.create_secret(one, s.SecretSpec(name="key", data="eA=="))
    await other.store.barrier()
    using = spec(ContainerSpec={"Secrets": [{"SecretName": "key", "File": {"Name": "key"}}]})
    made, removed = await asyncio.gather(
        services.create(one, using, now=NOW),
        data.remove_secret(other, "key"),
        return_exceptions=True,
    )
    assert isinstance(made, BaseException) != isinstance(removed, BaseException)
    await one.store.barrier()
    assert len(one.store.state.secrets) == len(one.store.state.services)


async def test_one_name_for_one_object(parts: ManagerParts) -> None:
    await services.create(parts, spec(), now=NOW)
    with pytest.raises(Exists, match="service web already exists"):
        await services.create(parts, spec(), now=NOW)
    await networks.create(parts, s.NetworkSpec(name="n"))
    with pytest.raises(Conflict, match="network with name n already exists"):
        await networks.create(parts, s.NetworkSpec(name="n"))
    with pytest.raises(Exists, match="is already present"):
        await networks.create(parts, s.NetworkSpec(name="mesh", ingress=True))
    unnamed = await services.create(parts, spec(Name=""), now=NOW)
    assert unnamed.name


@pytest.mark.parametrize(
    ("ipam", "sentence"),
    [
        ({"subnet": "10.0.0.0/33"}, "invalid subnet 10.0.0.0/33"),
        ({"subnet": "10.1.0.0/24", "gateway": "10.2.0.1"}, "is not in subnet"),
        ({"subnet": "10.1.0.0/24", "range": "10.2.0.0/25"}, "is not in subnet"),
        ({"subnet": "10.1.0.0/30"}, "too few addresses"),
        ({"gateway": "10.1.0.1"}, "needs a subnet"),
        ({"subnet": "10.7.0.0/16"}, "Pool overlaps with other one"),
    ],
)
async def test_subnets(parts: ManagerParts, ipam: dict[str, str], sentence: str) -> None:
    taken = s.NetworkSpec(name="taken", ipam_configs=(s.IpamConfig(subnet="10.7.3.0/24"),))
    await networks.create(parts, taken)
    with pytest.raises(Refused, match=sentence):
        await networks.create(parts, s.NetworkSpec(name="n", ipam_configs=(s.IpamConfig(**ipam),)))


async def test_of_two_managers_one_stays(two: tuple[ManagerParts, ManagerParts]) -> None:
    """Each demotes the other, by the manager at hand, at once."""
    one, other = two
    second = msgspec.structs.replace(
        node_record("two", "192.0.2.2"), role="manager", spec=s.NodeSpec(role="manager")
    )

    def join(draft: Draft) -> None:
        draft.put(second)

    await one.store.update(join)
    await other.store.barrier()
    state = one.store.state
    worker = s.NodeSpec(role="worker")
    state.present.clear()
    other.store.state.present.clear()
    outcomes = await asyncio.gather(
        nodes.update(one, second.id, state.nodes[second.id].version, worker),
        nodes.update(other, one.node_id, state.nodes[one.node_id].version, worker),
        return_exceptions=True,
    )
    refused = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    assert len(refused) == 1
    assert "the last manager of the swarm" in str(refused[0])


async def test_secrets_are_sealed(parts: ManagerParts) -> None:
    id = await data.create_secret(parts, s.SecretSpec(name="key", data="aHVudGVyMg=="))
    secret = parts.store.state.secrets[id]
    assert secret.spec.data == ""
    assert b"hunter2" not in msgspec.json.encode(secret)
    assert parts.sealing.unseal(secret.sealed, about=id) == b"hunter2"


async def test_what_is_to_be_encrypted_is_never_sent_in_clear(parts: ManagerParts) -> None:
    for value in ("", "true"):
        with pytest.raises(NotDone, match="encryption"):
            await networks.create(parts, s.NetworkSpec(name="n", options={"encrypted": value}))
    await networks.create(parts, s.NetworkSpec(name="n", options={"encrypted": "false"}))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("com.docker.network.driver.mtu", "large"),
        ("com.docker.network.driver.mtu", "67"),
        ("com.docker.network.driver.overlay.vxlanid_list", "0"),
        ("com.docker.network.driver.overlay.vxlanid_list", "16777216"),
        ("com.docker.network.driver.overlay.vxlanid_list", "4097,4098"),
    ],
)
async def test_a_value_that_an_option_cannot_have_is_refused(
    parts: ManagerParts, option: str, value: str
) -> None:
    with pytest.raises(Refused, match=f"network n: invalid value {value} of {option}: a number"):
        await networks.create(parts, s.NetworkSpec(name="n", options={option: value}))
    await networks.create(parts, s.NetworkSpec(name="n", options={option: "4097"}))


async def test_the_clusters_own_writes_put_nobody_out_of_sequence(
    two: tuple[ManagerParts, ManagerParts],
) -> None:
    for parts in two:
        name = f"n{two.index(parts)}"
        id = (await services.create(parts, spec(Name=name), now=NOW)).id
        service = parts.store.state.services[id]

        def allocated(draft: Draft, id: str = id) -> None:
            found = draft.get(Service, id)
            assert found is not None
            draft.put(msgspec.structs.replace(found, allocated_spec_version=7))

        await parts.store.update(allocated)
        assert parts.store.state.services[id].version > service.version
        await services.update(
            parts, id, service.version, spec(Name=name, Labels={"a": "b"}), now=NOW
        )
        newest = parts.store.state.services[id].version
        for version in (service.version, newest + 1):
            with pytest.raises(OutOfSequence):
                await services.update(parts, id, version, spec(Name=name), now=NOW)


async def test_a_job_that_is_done_still_says_how_many_run_at_once(parts: ManagerParts) -> None:
    job = {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 5}}
    made = await services.create(parts, spec(Mode=job), now=NOW)

    def draft(draft: Draft) -> None:
        for slot in range(5):
            done = TaskStatus(state=TaskState.COMPLETE)
            run = Task(id=f"t{slot}", service_id=made.id, slot=slot, status=done, node_id="n")
            draft.put(replace(run, desired=TaskState.RUNNING, job_iteration=0))

    await parts.store.update(draft)
    assert services.counts(parts.store.state, made) == services.Counts(0, 2, 5)
    why = explain(parts.store.state, made, now=NOW)
    assert (why.desired, why.completed) == (0, 5)
    assert [task.reason for task in why.tasks] == ["done"] * 5


async def test_a_job_that_has_begun_waits_for_the_rest(parts: ManagerParts) -> None:
    job = {"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 5}}
    made = await services.create(parts, spec(Mode=job), now=NOW)
    status = TaskStatus(state=TaskState.COMPLETE)
    first = Task(id="t0", service_id=made.id, slot=0, status=status, job_iteration=0)
    await parts.store.update(lambda d: d.put(replace(first, desired=TaskState.RUNNING)))
    why = explain(parts.store.state, made, now=NOW)
    assert [task.slot for task in why.tasks] == [0, 1, 2]
    assert (why.desired, why.completed) == (2, 1)
