"""The real docker command against the cluster parts of the API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sampan.cluster.contract import Draft
from sampan.cluster.records import Service, Task, TaskAttachment, TaskStatus, new_id
from sampan.cluster.states import TaskState


async def run_tasks(host: Any, name: str) -> list[Task]:
    """What orchestrator, scheduler and agent would do, in one stroke."""
    service = host.store.state.named(Service, name)
    node = next(iter(host.store.state.nodes.values()))
    mode = service.spec.mode.replicated
    made = [
        Task(
            id=new_id(),
            service_id=service.id,
            service_name=name,
            service_labels=service.spec.labels,
            slot=slot,
            node_id=node.id,
            spec=service.spec.task_template,
            spec_version=service.spec_version,
            desired=TaskState.RUNNING,
            status=TaskStatus(
                state=TaskState.RUNNING, timestamp=host.member.clock.now(), message="started"
            ),
            attachments=tuple(
                TaskAttachment(network_id=one.target, ipv4=f"10.0.1.{4 + slot}", prefix=24)
                for one in service.spec.task_template.networks
            ),
        )
        for slot in range(1, (mode.replicas or 0) + 1)
    ]

    def draft(draft: Draft) -> None:
        for task in made:
            draft.put(task)

    await host.store.update(draft)
    return made


async def test_a_service_from_create_to_rm(manager: Any) -> None:
    host = manager
    await host.docker("network", "create", "-d", "overlay", "--attachable", "back")
    await host.docker("secret", "create", "key", "-", stdin=b"hunter2")
    await host.docker("config", "create", "conf", "-", stdin=b"a=b")
    id = (
        await host.docker(
            "service create -q --detach --name web --replicas 2 -p 8080:80 --network back",
            "--secret key --config source=conf,target=/etc/conf --env A=b --limit-memory 64m",
            "--constraint node.role==manager --mount type=volume,source=v,target=/data",
            "--update-parallelism 2 --update-delay 1s --health-cmd true --label x=y",
            "--no-resolve-image",
            "busybox",
            "httpd",
            "-f",
        )
    ).strip()
    assert id in host.store.state.services
    tasks = await run_tasks(host, "web")
    listed = await host.docker("service", "ls")
    assert "2/2" in listed
    pretty = await host.docker("service", "inspect", "--pretty", "web")
    for word in ("web", "Replicas:", "busybox", "key", "conf", "node.role==manager", "64MiB"):
        assert word in pretty, pretty
    full = json.loads(await host.docker("service", "inspect", "web"))[0]
    assert full["Spec"]["TaskTemplate"]["RestartPolicy"]["Condition"] == "any"
    rows = await host.docker("service", "ps", "--no-trunc", "web")
    assert all(word in rows for word in ("web.1", "web.2", "Running"))
    inspected = json.loads(await host.docker("inspect", "--type", "task", tasks[0].id))[0]
    attachment = inspected["NetworksAttachments"][0]
    assert attachment["Addresses"] == ["10.0.1.5/24"]
    assert attachment["Network"]["Spec"]["Name"] == "back"

    await host.docker("service", "scale", "--detach", "web=5")
    assert "2/5" in await host.docker("service", "ls")
    await host.docker("service", "update", "-q", "--detach", "--env-add", "C=d", "web")
    await host.docker("service", "update", "-q", "--detach", "--image", "busybox:2", "web")
    assert _image(host, "web") == "busybox:2"
    await host.docker("service", "rollback", "-q", "--detach", "web")
    assert _image(host, "web") == "busybox:latest"
    assert "rollback_started" in await host.docker("service", "inspect", "web")

    in_use = await host.docker("secret", "rm", "key", ok=False)
    assert "secret 'key' is in use by the following service: web" in in_use
    in_use = await host.docker("network", "rm", "back", ok=False)
    assert "network back is in use by service web" in in_use
    taken = await host.docker("service create --detach --name two -p 8080:1 busybox", ok=False)
    assert f"port '8080' is already in use by service 'web' ({id}) as an ingress port" in taken
    await host.docker("service", "rm", "web")
    assert not host.store.state.services
    await host.docker("secret", "rm", "key")
    await host.docker("config", "rm", "conf")


def _image(host: Any, name: str) -> str:
    image: str = host.store.state.named(Service, name).spec.task_template.container_spec.image
    return image


async def test_only_what_changed_is_another_specification(manager: Any) -> None:
    """Labels that one client adds to a service of another must not look like another task."""
    host = manager
    await host.docker("service create -q --detach --name web busybox")
    before = host.store.state.named(Service, "web")
    await host.docker("service update -q --detach --label-add a=b web")
    after = host.store.state.named(Service, "web")
    assert after.spec.labels == {"a": "b"}
    assert after.spec.task_template == before.spec.task_template
    assert after.spec_version == before.spec_version + 1


async def test_jobs_and_global_services(manager: Any) -> None:
    host = manager
    await host.docker("service create -q --detach --mode global --name g busybox")
    await host.docker(
        "service create -q --detach --mode replicated-job --replicas 4 --name j",
        "--max-concurrent 2 busybox true",
    )
    await host.docker("service create -q --detach --mode global-job --name gj busybox")
    listed = await host.docker("service", "ls")
    assert "0/2 (0/4 completed)" in listed
    job = host.store.state.named(Service, "j")
    await host.docker("service update -q --detach --force j")
    assert host.store.state.named(Service, "j").job_status.iteration > job.job_status.iteration
    refused = await host.docker("service rollback --detach j", ok=False)
    assert "rolled back" in refused
    assert "gj" in await host.docker("service", "ls", "--filter", "mode=global-job")


async def test_nodes(manager: Any) -> None:
    host = manager
    listed = await host.docker("node", "ls")
    assert "Leader" in listed or "Reachable" in listed
    pretty = await host.docker("node", "inspect", "--pretty", "self")
    assert "Manager Status:" in pretty
    await host.docker("node", "update", "--label-add", "disk=ssd", "--availability", "drain", "one")
    node = host.store.state.nodes[host.member.node_id]
    assert node.spec.labels == {"disk": "ssd"}
    assert node.spec.availability == "drain"
    assert node.spec.role == "manager"
    last = await host.docker("node", "demote", "one", ok=False)
    assert "attempting to demote the last manager of the swarm" in last
    refused = await host.docker("node", "rm", "one", ok=False)
    assert "must be demoted to worker before removal" in refused
    assert await host.docker("node", "ps", "self")


async def test_the_swarm_itself(manager: Any) -> None:
    host = manager
    token = (await host.docker("swarm", "join-token", "-q", "worker")).strip()
    assert token.startswith("SWMTKN-1-")
    assert len(token) == 85
    rotated = (await host.docker("swarm", "join-token", "-q", "--rotate", "worker")).strip()
    assert rotated != token
    assert "BEGIN CERTIFICATE" in await host.docker("swarm", "ca")
    await host.docker("swarm", "update", "--task-history-limit", "2")
    spec = host.store.state.cluster.spec
    assert spec.orchestration.task_history_retention_limit == 2
    assert spec.dispatcher.heartbeat_period == 0, "still as the number of nodes asks for"
    info = await host.docker("info")
    assert "Swarm: active" in info
    assert "Managers: 1" in info
    again = await host.docker("swarm", "init", ok=False)
    assert "This node is already part of a swarm" in again
    await host.docker("swarm", "leave", ok=False)
    await host.docker("swarm", "leave", "--force")
    assert "Swarm: inactive" in await host.docker("info")
    outside = await host.docker("service", "ls", ok=False)
    assert "This node is not a swarm manager." in outside


async def test_networks_of_both_scopes_in_one_list(manager: Any) -> None:
    host = manager
    await host.docker("network", "create", "-d", "overlay", "--subnet", "10.9.0.0/24", "far")
    await host.docker("network", "create", "near")
    names = (await host.docker("network", "ls", "--format", "'{{.Name}} {{.Scope}}'")).splitlines()
    assert sorted(names) == sorted(set(names))
    assert {"far swarm", "near local", "ingress swarm"} <= set(names)
    far = json.loads(await host.docker("network", "inspect", "-v", "far"))[0]
    assert far["IPAM"]["Config"] == [{"Subnet": "10.9.0.0/24"}]
    assert far["Services"] == {}
    twice = await host.docker("network", "create", "-d", "overlay", "far", ok=False)
    assert "network with name far already exists" in twice
    unknown = await host.docker("service create --detach --network x busybox", ok=False)
    # a docker of 2023 says the second whatever the answer was
    assert "network x not found" in unknown or "No such network: x" in unknown
    await host.docker("service create -q --detach --name h --network host busybox")
    (attached,) = host.store.state.named(Service, "h").spec.task_template.networks
    assert attached.target == "host"
    await host.docker("network", "rm", "far", "near")


STACK = """
services:
  web:
    image: busybox
    command: httpd -f
    ports: ["8080:80"]
    networks: [front]
    secrets: [key]
    configs: [{source: conf, target: /etc/conf}]
    deploy: {replicas: 3, labels: {a: b}}
  db:
    image: busybox
networks:
  front: {driver: overlay}
secrets:
  key: {file: ./key}
configs:
  conf: {file: ./key}
"""


async def test_a_stack_of_the_stock_command(manager: Any, tmp_path: Path) -> None:
    host = manager
    (tmp_path / "stack.yaml").write_text(f"version: '3.8'\n{STACK}")
    (tmp_path / "key").write_text("hunter2")
    deploy = f"stack deploy -c {tmp_path}/stack.yaml shop"
    await host.docker(deploy)
    services = {one.name: one for one in host.store.state.services.values()}
    assert set(services) == {"shop_web", "shop_db"}
    before = {name: one.spec.task_template for name, one in services.items()}
    await host.docker(deploy)
    after = {one.name: one.spec.task_template for one in host.store.state.services.values()}
    assert after == before, "nothing has changed: no task is to be replaced"
    assert "shop" in await host.docker("stack ls")
    assert "0/3" in await host.docker("stack services shop")
    await run_tasks(host, "shop_web")
    assert "shop_web.2" in await host.docker("stack ps shop")
    await host.docker("stack rm shop")
    assert not host.store.state.services
    assert not host.store.state.secrets
    assert [one.name for one in host.store.state.networks.values()] == ["ingress"]
