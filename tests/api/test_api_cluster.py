"""The cluster parts of the API, request by request."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import docker
import pytest
from test_api_cluster_cli import run_tasks
from test_api_conformance import SPEC, Validator

from sampan.aio import in_thread
from sampan.cluster.contract import Presence
from sampan.cluster.control import networks
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.records import Service
from sampan.cluster.spec import NetworkSpec
from sampan.engine.contract import LogRequest
from sampan.runtime.contract import Stream
from sampan.testing.membership import FakeMembership

CREATE: dict[str, Any] = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}}}


def filters(**values: Any) -> str:
    return "filters=" + quote(json.dumps({k.replace("_", "-"): v for k, v in values.items()}))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/swarm"),
        ("POST", "/swarm/leave"),
        ("GET", "/nodes"),
        ("GET", "/services"),
        ("GET", "/services/x"),
        ("GET", "/tasks"),
        ("GET", "/secrets"),
        ("GET", "/configs"),
        ("GET", "/swarm/unlockkey"),
        ("POST", "/swarm/unlock"),
        ("DELETE", "/services/x"),
    ],
)
async def test_outside_of_a_cluster(host: Any, method: str, path: str) -> None:
    answer = await host.ask(method, path, status=503)
    assert answer["message"].startswith("This node is not a swarm manager. Use")


async def test_on_a_worker(host: Any, manager: Any) -> None:
    host.member.role = "worker"
    for path in ("/services", "/nodes", "/secrets", "/swarm"):
        answer = await host.ask("GET", path, status=503)
        assert "Worker nodes can't be used to view or modify cluster state" in answer["message"]
    overlay = {"Name": "n", "Driver": "overlay"}
    assert (
        "Worker nodes"
        in (await host.ask("POST", "/networks/create", overlay, status=503))["message"]
    )
    names = {one["Name"] for one in await host.ask("GET", "/networks", status=200)}
    assert "ingress" not in names, "a worker knows only what is on it"


async def test_without_a_quorum_it_says_so(manager: Any) -> None:
    # of two: one that is alone gives its own store's disk longer
    other = await manager.hub.store()
    await other.announce(Presence(node_id="other", address="198.51.100.9:2377"))
    await manager.store.barrier()
    manager.hub.lose_quorum()
    async with asyncio.timeout(5):
        answers = await asyncio.gather(
            manager.ask("GET", "/services", status=503),
            manager.ask("POST", "/services/create", CREATE, status=503),
        )
    for answer in answers:
        assert "too few managers are online" in answer["message"]
    # What needs no quorum goes on.
    info = await manager.ask("GET", "/info", status=200)
    assert info["Swarm"]["LocalNodeState"] == "active"
    assert await manager.ask("GET", "/networks", status=200)


async def test_old_and_sloppy_clients(manager: Any) -> None:
    """Networks at the service's level, names in lower case, nulls wherever Go has a pointer."""
    network = await manager.ask(
        "POST", "/networks/create", {"Name": "back", "Driver": "overlay"}, status=201
    )
    made = await manager.ask(
        "POST",
        "/v1.24/services/create",
        {
            "Name": "web",
            "Labels": None,
            "TaskTemplate": {
                "ContainerSpec": {
                    "image": "busybox",
                    "Mounts": None,
                    "Env": ["A=b"],
                    "DNSConfig": {},
                },
                "Resources": {"Limits": {}, "Reservations": None},
                "Placement": {},
                "RestartPolicy": {},
                "ForceUpdate": 0,
            },
            "mode": {"replicated": {"Replicas": 0}},
            "Networks": [{"Target": "back"}],
            "UpdateConfig": None,
            "EndpointSpec": {"Ports": [{"TargetPort": 80}]},
            "Unheard": {"of": 1},
        },
        status=201,
    )
    service = manager.store.state.services[made["ID"]]
    assert [one.target for one in service.spec.task_template.networks] == [network["Id"]]
    assert service.spec.mode.replicated.replicas == 0
    task = service.spec.task_template
    assert (task.resources, task.placement, task.restart_policy) == (None, None, None)
    shown = await manager.ask("GET", "/services/web", status=200)
    assert shown["Spec"]["Mode"] == {"Replicated": {"Replicas": 0}}
    assert shown["Spec"]["Labels"] == {}
    assert shown["Spec"]["TaskTemplate"]["Placement"] == {}
    assert shown["Spec"]["EndpointSpec"] == {
        "Mode": "vip",
        "Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishMode": "ingress"}],
    }


async def test_wrong_types_are_named(manager: Any) -> None:
    body = {"Name": "web", "TaskTemplate": {"ContainerSpec": {"Image": "b", "Env": [1]}}}
    answer = await manager.ask("POST", "/services/create", body, status=400)
    assert "$.TaskTemplate.ContainerSpec.Env[0]" in answer["message"]
    node = manager.member.node_id
    version = manager.store.state.nodes[node].version
    answer = await manager.ask(
        "POST", f"/nodes/{node}/update?version={version}", {"Labels": {}}, status=400
    )
    assert answer["message"] == 'invalid Role: ""', "and not a worker from now on"


async def test_versions(manager: Any) -> None:
    await manager.ask("POST", "/services/create", CREATE, status=201)
    shown = await manager.ask("GET", "/services/web", status=200)
    index = shown["Version"]["Index"]
    path = "/services/web/update?version="
    await manager.ask("POST", f"{path}{index}", shown["Spec"], status=200)
    stale = await manager.ask("POST", f"{path}{index}", shown["Spec"], status=500)
    assert "update out of sequence" in stale["message"]
    await manager.ask("POST", "/services/web/update", shown["Spec"], status=400)
    index = (await manager.ask("GET", "/services/web"))["Version"]["Index"]
    changed = {**shown["Spec"], "Mode": {"Global": {}}}
    refused = await manager.ask("POST", f"{path}{index}", changed, status=501)
    assert "service mode change is not allowed" in refused["message"]
    renamed = {**shown["Spec"], "Name": "other"}
    refused = await manager.ask("POST", f"{path}{index}", renamed, status=501)
    assert "renaming services is not supported" in refused["message"]
    taken = await manager.ask("POST", "/services/create", CREATE, status=409)
    assert "service web already exists" in taken["message"]


async def test_what_was_read_may_be_sent_back(manager: Any) -> None:
    """Defaults that inspect prints are no change of the specification."""
    await manager.ask("POST", "/services/create", CREATE, status=201)
    before = manager.store.state.named(Service, "web").spec
    shown = await manager.ask("GET", "/services/web")
    index = shown["Version"]["Index"]
    await manager.ask("POST", f"/services/web/update?version={index}", shown["Spec"], status=200)
    assert manager.store.state.named(Service, "web").spec == before


async def test_registry_credentials_are_kept_sealed(manager: Any) -> None:
    auth = base64.urlsafe_b64encode(b'{"username":"u","password":"hunter2"}').decode()
    await manager.ask(
        "POST", "/services/create", CREATE, status=201, headers={"X-Registry-Auth": auth}
    )
    service = manager.store.state.named(Service, "web")
    sealing = manager.member.manager.sealing
    assert sealing.unseal(service.sealed_auth, about=service.id) == auth.encode()
    assert auth.encode() not in service.sealed_auth
    shown = await manager.ask("GET", "/services/web")
    assert "hunter2" not in json.dumps(shown)
    path = f"/services/web/update?version={service.version}&registryAuthFrom=previous-spec"
    await manager.ask("POST", path, {**shown["Spec"], "Labels": {"a": "b"}}, status=200)
    service = manager.store.state.named(Service, "web")
    assert sealing.unseal(service.sealed_auth, about=service.id) == auth.encode()


async def test_a_service_of_local_networks_is_refused(manager: Any) -> None:
    await manager.ask("POST", "/networks/create", {"Name": "near"}, status=201)
    body = {**CREATE, "Networks": [{"Target": "near"}]}
    answer = await manager.ask("POST", "/services/create", body, status=403)
    assert answer["message"].startswith("The network near cannot be used with services.")
    await manager.ask("POST", "/networks/create", {"Name": "near", "Driver": "overlay"}, status=409)


async def test_a_network_that_another_manager_was_given(manager: Any) -> None:
    other = await manager.hub.store()
    manager.hub.member(manager.store).delay_s = 0.2
    parts = ManagerParts(node_id="", store=other, sealing=manager.member.box)
    id = await networks.create(parts, NetworkSpec(name="fresh"))
    shown = await manager.ask("GET", "/networks/fresh", status=200)
    assert (shown["Id"], shown["Scope"]) == (id, "swarm")
    await manager.ask("GET", "/networks/none?scope=local", status=200)
    missing = await manager.ask("GET", "/networks/missing", status=404)
    assert missing["message"] == "network missing not found"


async def test_pruned_networks(manager: Any) -> None:
    for name in ("unused", "used"):
        body = {"Name": name, "Driver": "overlay", "Labels": {"a": name}}
        await manager.ask("POST", "/networks/create", body, status=201)
    body = {**CREATE, "Networks": [{"Target": "used"}]}
    await manager.ask("POST", "/services/create", body, status=201)
    dangling = await manager.ask("GET", f"/networks?{filters(dangling=['true'])}", status=200)
    assert [one["Name"] for one in dangling] == ["unused"]
    assert "unused" in await manager.docker("network prune -f")
    left = {one.name for one in manager.store.state.networks.values()}
    assert left == {"ingress", "used"}


async def test_a_rotation_is_under_way_from_the_moment_it_is_asked_for(manager: Any) -> None:
    await manager.docker("swarm ca --rotate --detach")
    assert (await manager.ask("GET", "/swarm"))["RootRotationInProgress"] is True


async def test_task_filters(manager: Any) -> None:
    for name in ("web", "db"):
        body = {**CREATE, "Name": name, "Mode": {"Replicated": {"Replicas": 2}}}
        await manager.ask("POST", "/services/create", body, status=201)
        await run_tasks(manager, name)

    async def count(**values: Any) -> int:
        return len(await manager.ask("GET", f"/tasks?{filters(**values)}", status=200))

    assert await count() == 4
    assert await count(service=["web"]) == 2
    assert await count(service={"web": True, "db": True}) == 4
    assert await count(name=["web.1"]) == 1
    assert await count(node=["self"]) == 4
    assert await count(desired_state=["running"]) == 4
    assert await count(desired_state=["shutdown"]) == 0
    assert await count(service=["gone"]) == 0
    await manager.ask("GET", f"/tasks?{filters(desired_state=['odd'])}", status=400)
    fresh = quote(json.dumps({"_up-to-date": ["true"], "service": ["web"]}))
    assert len(await manager.ask("GET", f"/tasks?filters={fresh}", status=200)) == 2


async def test_why(manager: Any) -> None:
    body = {**CREATE, "Mode": {"Replicated": {"Replicas": 2}}}
    await manager.ask("POST", "/services/create", body, status=201)
    why = await manager.ask("GET", "/sampan/services/web/why", status=200)
    assert why["converged"] is False
    assert [task["waits_for"] for task in why["tasks"]] == ["orchestrator", "orchestrator"]
    await manager.ask("GET", "/sampan/services/other/why", status=404)


async def test_events_of_the_cluster(manager: Any) -> None:
    wanted = quote(json.dumps({"type": ["service", "secret"], "scope": ["swarm"]}))
    async with manager.http.get(f"http://daemon/events?filters={wanted}") as stream:
        made = await manager.ask("POST", "/services/create", CREATE, status=201)
        secret = {"Name": "s", "Data": base64.b64encode(b"x").decode()}
        await manager.ask("POST", "/secrets/create", secret, status=201)
        await manager.ask("DELETE", "/services/web", status=200)
        seen = [json.loads(await stream.content.readline()) for _ in range(3)]
    assert [(one["Type"], one["Action"]) for one in seen] == [
        ("service", "create"),
        ("secret", "create"),
        ("service", "remove"),
    ]
    assert seen[0]["Actor"] == {"ID": made["ID"], "Attributes": {"name": "web"}}
    assert {one["scope"] for one in seen} == {"swarm"}


async def test_secrets_and_configs(manager: Any) -> None:
    data = base64.b64encode(b"hunter2").decode()
    for kind in ("secrets", "configs"):
        body = {"Name": "one", "Data": data, "Labels": {"a": "b"}}
        made = await manager.ask("POST", f"/{kind}/create", body, status=201)
        await manager.ask("POST", f"/{kind}/create", body, status=409)
        shown = await manager.ask("GET", f"/{kind}/{made['ID'][:10]}", status=200)
        assert ("Data" in shown["Spec"]) == (kind == "configs")
        path = f"/{kind}/one/update?version={shown['Version']['Index']}"
        answer = await manager.ask("POST", path, {"Name": "two"}, status=400)
        assert "only updates to Labels are allowed" in answer["message"]
        await manager.ask("POST", path, {"Name": "one", "Labels": {"c": "d"}}, status=200)
        assert len(await manager.ask("GET", f"/{kind}?{filters(label=['c'])}")) == 1
        assert await manager.ask("GET", f"/{kind}?{filters(name=['x'])}") == []
        answer = await manager.ask("POST", f"/{kind}/create", {"Name": "-", "Data": data})
        assert "invalid name, only 64" in answer["message"]
        answer = await manager.ask("POST", f"/{kind}/create", {"Name": "empty"})
        assert "data must be larger than 0 and less than" in answer["message"]
        await manager.ask("DELETE", f"/{kind}/one", status=204)
        await manager.ask("GET", f"/{kind}/one", status=404)


@dataclass
class Entry:
    task_id: str
    node_id: str
    time_ns: int
    stream: Stream
    line: bytes


class Logs:
    """Lines that are there already."""

    def __init__(self) -> None:
        self.asked: list[tuple[Sequence[str], LogRequest]] = []
        self.entries: list[Entry] = []

    async def read(
        self, task_ids: Sequence[str], request: LogRequest, *, service_id: str = ""
    ) -> AsyncIterator[Sequence[Entry]]:
        self.asked.append((task_ids, request))
        for entry in self.entries:
            yield [entry]


async def test_logs_of_a_service(manager: Any) -> None:
    body = {**CREATE, "Mode": {"Replicated": {"Replicas": 2}}}
    await manager.ask("POST", "/services/create", body, status=201)
    one, two = await run_tasks(manager, "web")
    logs = manager.member.logs = Logs()
    logs.entries = [
        Entry(one.id, one.node_id, 1_700_000_000_000_000_001, "stdout", b"hello\n"),
        Entry(two.id, two.node_id, 1_700_000_000_000_000_002, "stdout", b"there you are\n"),
    ]
    shown = await manager.docker("service logs -t --tail 5 web")
    assert f"web.1.{one.id[:12]}@one    | hello\n" in shown
    assert logs.asked[0][1].tail == 5
    assert sorted(logs.asked[0][0]) == sorted([one.id, two.id])
    assert "2023-11-14T22:13:20.000000001Z" in shown
    logs.entries.insert(1, Entry("", two.node_id, 1_700_000_000_000_000_001, "stderr", b"cut\n"))
    assert "there you are" in await manager.docker("service logs web"), "in spite of the notice"
    logs.entries = logs.entries[:1]
    assert (await manager.docker(f"service logs --raw {one.id}")) == "hello\n"
    manager.member.logs = None
    await manager.ask("GET", "/services/web/logs?stdout=1", status=501)
    await manager.ask("GET", "/services/web/logs", status=400)


async def test_docker_py(manager: Any) -> None:
    """Its own spelling of modes, and everything it reads out of the answers."""

    def drive() -> None:
        client = docker.DockerClient(base_url=f"unix://{manager.socket}")
        try:
            network = client.networks.create("back", driver="overlay", scope="swarm")
            secret = client.secrets.create(name="key", data=b"x")
            config = client.configs.create(name="conf", data=b"y")
            service = client.services.create(
                "busybox",
                command=["sleep", "9"],
                name="web",
                env=["A=b"],
                labels={"l": "m"},
                networks=["back"],
                mode=docker.types.ServiceMode("replicated", replicas=3),
                secrets=[docker.types.SecretReference(secret.id, "key")],
                configs=[docker.types.ConfigReference(config.id, "conf")],
                endpoint_spec=docker.types.EndpointSpec(ports={8081: 80}),
                resources=docker.types.Resources(mem_limit=64 << 20),
                restart_policy=docker.types.RestartPolicy(condition="on-failure", max_attempts=2),
                update_config=docker.types.UpdateConfig(parallelism=2, order="start-first"),
                healthcheck=docker.types.Healthcheck(test=["CMD", "true"]),
                mounts=["v:/data"],
                hosts={"far": "10.0.0.9"},
                constraints=["node.role==worker"],
                preferences=[("spread", "node.labels.rack")],
                maxreplicas=2,
                platforms=[("amd64", "linux")],
                stop_grace_period=3_000_000_000,
            )
            assert client.services.list(filters={"name": "web"})[0].id == service.id
            service.reload()
            assert service.scale(5)
            service.reload()
            assert service.update(image="busybox:2") == {"Warnings": None}
            assert service.tasks() == []
            (node,) = client.nodes.list()
            node.update({"Availability": "drain", "Role": "manager", "Labels": {"x": "y"}})
            node.reload()
            assert node.attrs["Spec"]["Availability"] == "drain"
            client.swarm.reload()
            client.swarm.update(rotate_worker_token=True, task_history_retention_limit=3)
            assert client.swarm.attrs["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"] == 3
            assert client.networks.get(network.id).attrs["Scope"] == "swarm"
            with pytest.raises(docker.errors.APIError, match="in use by the following service"):
                secret.remove()
            service.remove()
            secret.remove()
            config.remove()
            network.remove()
        finally:
            client.close()

    await in_thread(drive)


@pytest.mark.skipif(not SPEC.exists(), reason="no copy of the specification here")
async def test_answers_against_the_specification(manager: Any) -> None:
    import yaml

    spec = yaml.safe_load(SPEC.read_text())
    await manager.docker("network create -d overlay back")
    await manager.docker("secret create key -", stdin=b"x")
    await manager.docker("config create conf -", stdin=b"y")
    await manager.docker(
        "service create -q --detach --name web --network back --secret key --config conf",
        "-p 8080:80 --update-delay 1s --limit-cpu 1 --mount type=bind,source=/a,target=/b busybox",
    )
    (task,) = await run_tasks(manager, "web")
    await manager.docker("service update -q --detach --force web")
    names = {
        "/swarm": "/swarm",
        "/nodes": "/nodes",
        "/nodes/self": "/nodes/{id}",
        "/services?status=true": "/services",
        "/services/web": "/services/{id}",
        "/services/web?insertDefaults=true": "/services/{id}",
        "/tasks": "/tasks",
        f"/tasks/{task.id}": "/tasks/{id}",
        "/secrets": "/secrets",
        "/secrets/key": "/secrets/{id}",
        "/configs": "/configs",
        "/configs/conf": "/configs/{id}",
        "/networks": "/networks",
        "/networks/back?verbose=true": "/networks/{id}",
        "/info": "/info",
    }
    # Docker answers so, and the specification's own examples have it; its schemas have not.
    known = (".PreviousSpec", ".NetworksAttachments[0].Network.", ".Services")
    wrong = []
    for path, pattern in names.items():
        validator = Validator(spec)
        answer = await manager.ask("GET", path, status=200)
        schema = spec["paths"][pattern]["get"]["responses"][200]["schema"]
        validator.check(answer, schema, path)
        wrong += [one for one in validator.wrong if not any(word in one for word in known)]
    assert not wrong, "\n".join(wrong)


async def test_ping_tells_the_role(host: Any) -> None:
    async def role() -> str:
        async with host.http.get("http://daemon/_ping") as answer:
            return str(answer.headers["Swarm"])

    assert await role() == "inactive"
    await host.ask("POST", "/swarm/init", {}, status=200)
    assert await role() == "active/manager"
    host.member.role = "worker"
    assert await role() == "active/worker"


async def test_init_checks_what_it_is_asked(host: Any) -> None:
    refused = [
        ({"Spec": {"CAConfig": {"NodeCertExpiry": 1}}}, 400, "minimum certificate expiry time"),
        ({"Spec": {"Dispatcher": {"HeartbeatPeriod": -1}}}, 400, "negative duration"),
        ({"Spec": {"EncryptionConfig": {"AutoLockManagers": True}}}, 501, "autolock"),
        ({"Availability": "gone"}, 400, "invalid Availability"),
    ]
    for body, status, sentence in refused:
        answer = await host.ask("POST", "/swarm/init", body, status=status)
        assert sentence in answer["message"]
    assert host.member.role == "none"
    raft = {"Raft": {"ElectionTick": 0}, "Dispatcher": {}}
    await host.ask("POST", "/swarm/init", {"Spec": raft}, status=200)
    spec = (await host.ask("GET", "/swarm"))["Spec"]
    assert spec["Raft"]["ElectionTick"] == 10
    assert spec["Dispatcher"]["HeartbeatPeriod"] == 5_000_000_000


async def test_a_second_host_joins(manager: Any) -> None:
    tokens = (await manager.ask("GET", "/swarm"))["JoinTokens"]
    from sampan.cluster.node.contract import JoinRequest

    other = FakeMembership(
        await manager.hub.store(), manager.member.clock, address="192.0.2.2", hostname="two"
    )
    await other.join(JoinRequest(join_token=tokens["Worker"], remote_addrs=("192.0.2.1",)))
    await manager.store.barrier()
    listed = await manager.ask("GET", f"/nodes?{filters(role=['worker'])}", status=200)
    assert [one["Description"]["Hostname"] for one in listed] == ["two"]
    assert "ManagerStatus" not in listed[0]
    up = await manager.ask("DELETE", "/nodes/two", status=400)
    assert f"node {other.node_id} is not down and can't be removed" in up["message"]
    await manager.docker("node promote two")
    assert manager.store.state.nodes[other.node_id].spec.role == "manager"
    await manager.docker("node demote two")
    await manager.ask("DELETE", "/nodes/two?force=true", status=200)
    gone = await manager.ask("GET", "/nodes/two", status=404)
    assert gone["message"] == "node two not found"
