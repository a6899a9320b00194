"""Stacks: what is planned, and that carrying it out twice changes nothing."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from sampan.client import Client
from sampan.compose.errors import ComposeFileError
from sampan.compose.file.load import LoadRequest, load
from sampan.compose.model.schema import cluster_top
from sampan.compose.stack.deploy import Deployment, observe, pins, remove_stack
from sampan.compose.stack.diff import differences
from sampan.compose.stack.model import Stack
from sampan.compose.stack.plan import CannotDeploy, StackPlan, plan_deploy, plan_remove
from sampan.compose.stack.read import read_stack
from sampan.testing.cluster_api import ClusterApi
from sampan.testing.cluster_members import Refused

FILE = """
services:
  web:
    image: nginx:1
    networks: [front]
    secrets: [key]
    configs: [conf]
    deploy: {replicas: 3}
  db: {image: redis}
networks: {front: }
secrets: {key: {environment: KEY}}
configs: {conf: {content: hello}}
"""


def stack_of(tmp_path: Path, text: str, **variables: str) -> Stack:
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    request = LoadRequest(files=(str(path),), project="stack", cwd=str(tmp_path))
    return read_stack("app", load(request, {"KEY": "k", **variables}, cluster_top()))


class Cluster:
    """A manager in memory and a client of it."""

    def __init__(self, api: ClusterApi, client: Client) -> None:
        self.api = api
        self.client = client
        self.said: list[str] = []
        self.warned: list[str] = []

    def plan(self, stack: Stack, **more: Any) -> StackPlan:
        return plan_deploy(stack, observe(self.client, "app", stack), **more)

    def deploy(self, stack: Stack, **more: Any) -> Deployment:
        work = Deployment(self.client, self.said.append, self.warned.append, lambda image: None)
        work.run(self.plan(stack, **more))
        return work


@pytest.fixture
def cluster(tmp_path: Path) -> Any:
    api = ClusterApi()
    with api.serve(tmp_path / "s") as host:
        client = Client(host, environ={})
        yield Cluster(api, client)
        client.close()


def lines(plan: StackPlan) -> list[str]:
    return [" ".join(str(step).split()) for step in plan.steps]


def test_everything_is_made_in_the_order_of_need(cluster: Cluster, tmp_path: Path) -> None:
    assert lines(cluster.plan(stack_of(tmp_path, FILE))) == [
        "create network app_front (it does not exist)",
        "create network app_default (it does not exist)",
        "create secret app_key (it does not exist)",
        "create config app_conf (it does not exist)",
        "create service app_db (it does not exist)",
        "create service app_web (it does not exist)",
    ]


def test_new_secrets_are_used_by_their_ids(cluster: Cluster, tmp_path: Path) -> None:
    work = cluster.deploy(stack_of(tmp_path, FILE))
    assert sorted(work.changed.values()) == ["app_db", "app_web"]
    (secret,) = cluster.api.secrets.values()
    (config,) = cluster.api.configs.values()
    assert base64.b64decode(secret["Spec"]["Data"]) == b"k"
    web = next(s for s in cluster.api.services.values() if s["Spec"]["Name"] == "app_web")
    part = web["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert part["Secrets"][0]["SecretID"] == secret["ID"]
    assert part["Configs"][0]["ConfigID"] == config["ID"]


def test_the_same_file_again_changes_no_service(cluster: Cluster, tmp_path: Path) -> None:
    stack = stack_of(tmp_path, FILE)
    cluster.deploy(stack)
    versions = {k: s["Version"]["Index"] for k, s in cluster.api.services.items()}
    assert lines(cluster.plan(stack)) == [
        "keep network app_front (it exists)",
        "keep network app_default (it exists)",
        "update secret app_key (content is compared there)",
        "keep config app_conf (unchanged)",
        "keep service app_db (unchanged)",
        "keep service app_web (unchanged)",
    ]
    assert not cluster.deploy(stack).changed
    assert versions == {k: s["Version"]["Index"] for k, s in cluster.api.services.items()}


def test_only_what_differs_is_updated_and_it_says_in_what(cluster: Cluster, tmp_path: Path) -> None:
    cluster.deploy(stack_of(tmp_path, FILE))
    changed = stack_of(tmp_path, FILE.replace("replicas: 3", "replicas: 5"))
    plan = cluster.plan(changed)
    assert lines(plan)[-2:] == [
        "keep service app_db (unchanged)",
        "update service app_web (changed: Mode.Replicated.Replicas)",
    ]
    for service in cluster.api.services.values():
        service["Spec"]["TaskTemplate"]["ForceUpdate"] = 4
    assert list(cluster.deploy(changed).changed.values()) == ["app_web"]
    web = next(s for s in cluster.api.services.values() if s["Spec"]["Name"] == "app_web")
    assert web["Spec"]["Mode"] == {"Replicated": {"Replicas": 5}}
    assert web["Spec"]["TaskTemplate"]["ForceUpdate"] == 4, "a forced restart is not undone"


def test_prune_removes_what_the_file_lost(cluster: Cluster, tmp_path: Path) -> None:
    cluster.deploy(stack_of(tmp_path, FILE))
    rest = stack_of(tmp_path, FILE.replace("  db: {image: redis}\n", ""))
    assert not [line for line in lines(cluster.plan(rest)) if line.startswith("remove")]
    assert lines(cluster.plan(rest, prune=True))[0] == (
        "remove service app_db (the file has it no more)"
    )
    cluster.deploy(rest, prune=True)
    assert [s["Spec"]["Name"] for s in cluster.api.services.values()] == ["app_web"]


def test_a_digest_is_put_to_images_that_a_registry_knows(cluster: Cluster, tmp_path: Path) -> None:
    digest = "sha256:" + "2" * 64
    cluster.api.images["redis:latest"] = digest
    stack = stack_of(tmp_path, FILE)
    known = pins(cluster.client, ["nginx:1", "redis", "redis"], lambda image: None)
    assert known == {"redis": f"redis:latest@{digest}"}
    cluster.deploy(stack, pins=known)
    # Not asked again, the service keeps the image that it has.
    assert lines(cluster.plan(stack))[-2:] == [
        "keep service app_db (unchanged)",
        "keep service app_web (unchanged)",
    ]
    db = next(s for s in cluster.api.services.values() if s["Spec"]["Name"] == "app_db")
    assert db["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"] == f"redis:latest@{digest}"
    assert db["Spec"]["Labels"]["com.docker.stack.image"] == "redis"


def test_content_that_changed_needs_another_name(cluster: Cluster, tmp_path: Path) -> None:
    cluster.deploy(stack_of(tmp_path, FILE))
    with pytest.raises(CannotDeploy, match=r"failed to update secret app_key: .*another name"):
        cluster.deploy(stack_of(tmp_path, FILE, KEY="other"))
    with pytest.raises(CannotDeploy, match=r"failed to update config app_conf: .*another name"):
        cluster.plan(stack_of(tmp_path, FILE.replace("hello", "bye")))


@pytest.mark.parametrize(
    ("section", "use", "words"),
    [
        ("networks", "networks: [x]", 'network "x" is declared as external, but could not be'),
        ("secrets", "secrets: [x]", "secret not found: x"),
        ("configs", "configs: [x]", "config not found: x"),
    ],
)
def test_what_is_external_must_be_there(
    section: str, use: str, words: str, cluster: Cluster, tmp_path: Path
) -> None:
    text = f"services:\n  web:\n    image: i\n    {use}\n{section}: {{x: {{external: true}}}}\n"
    with pytest.raises(CannotDeploy, match=words):
        cluster.plan(stack_of(tmp_path, text))


def test_a_local_network_is_none_of_the_cluster(cluster: Cluster, tmp_path: Path) -> None:
    cluster.api.add_network("near", scope="local")
    text = "services: {web: {image: i, networks: [near]}}\nnetworks: {near: {external: true}}\n"
    with pytest.raises(CannotDeploy, match='scope: "local" instead of "swarm"'):
        cluster.plan(stack_of(tmp_path, text))


def test_removal_waits_for_what_is_in_use(cluster: Cluster, tmp_path: Path) -> None:
    cluster.deploy(stack_of(tmp_path, FILE))
    plan = plan_remove("app", observe(cluster.client, "app"))
    assert [step.kind for step in plan.steps] == [
        "service", "service", "secret", "config", "network", "network",
    ]  # fmt: skip
    # A network is in use until its last task is gone; a networks's removal is then refused.
    waited: list[float] = []
    busy = {"app_front"}
    find = cluster.api._find

    def held(kind: str, ref: str) -> Any:
        found = find(kind, ref)
        if kind == "network" and found["Name"] in busy:
            raise Refused(409, "network app_front is in use by task t1")
        return found

    def wait(seconds: float) -> None:
        waited.append(seconds)
        busy.clear()

    cluster.api._find = held  # type: ignore[method-assign]
    assert remove_stack(cluster.client, plan, cluster.said.append, wait, 30.0) == []
    assert waited == [0.1]
    assert not cluster.api.services
    busy.add("ingress")
    plan = plan_remove("app", observe(cluster.client, "app"))
    assert not plan.steps


def test_a_cluster_does_not_build(tmp_path: Path) -> None:
    with pytest.raises(ComposeFileError, match=r"compose.yaml:3: services.web: needs an image"):
        stack_of(tmp_path, "services:\n\n  web: {build: .}\n")


def test_spelling_defaults_out_is_no_difference() -> None:
    short = {
        "Name": "x",
        "Labels": {},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "i", "Labels": {"a": "b"}},
            "Networks": [{"Target": "net", "Aliases": ["x"]}],
        },
        "Mode": {"Replicated": {}},
    }
    long = {
        "Name": "x",
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "i", "Labels": {"a": "b"}, "Isolation": "default", "DNSConfig": {},
                "StopGracePeriod": 10_000_000_000, "Init": None, "TTY": False,
            },
            "Resources": {"Limits": {}},
            "RestartPolicy": {"Condition": "any", "Delay": 5_000_000_000, "MaxAttempts": 0},
            "Placement": {"Platforms": [{"OS": "linux"}]},
            "Networks": [{"Target": "id", "Aliases": ["x"]}],
            "ForceUpdate": 3,
            "Runtime": "container",
        },
        "Mode": {"Replicated": {"Replicas": 1}},
        "EndpointSpec": {"Mode": "vip"},
    }  # fmt: skip
    assert differences(short, long, {"id": "net"}) == []
    long["Mode"] = {"Replicated": {"Replicas": 0}}
    assert differences(short, long, {"id": "net"}) == ["Mode.Replicated.Replicas"]
    long["Mode"] = {"Global": {}}
    assert differences(short, long, {"id": "net"}) == ["Mode.Global", "Mode.Replicated"]
    long["Mode"] = short["Mode"]
    long["TaskTemplate"]["ContainerSpec"]["Labels"] = {"Monitor": "0"}  # type: ignore[index]
    assert differences(short, long, {"id": "net"}) == [
        "TaskTemplate.ContainerSpec.Labels.Monitor",
        "TaskTemplate.ContainerSpec.Labels.a",
    ]
