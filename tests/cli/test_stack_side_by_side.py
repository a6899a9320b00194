"""What ``stack deploy`` sends, beside what docker's sends for the same file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sampan.testing.cluster_api import ClusterApi
from sampan.testing.cluster_members import BORN, Sent

WEB = """
services:
  web:
    image: nginx:1
"""


def service(text: str) -> str:
    """A file with one service and these keys."""
    lines = "\n".join(f"    {line}" for line in text.strip().splitlines())
    return f'version: "3.9"\nservices:\n  web:\n    image: nginx\n{lines}\n'


SERVICES = [
    "command: sleep 5",
    'command: ["a", "b c"]\nentrypoint: /bin/sh -c',
    "environment: {B: '2', A: '1', M: 3, E: ''}",
    "environment: [B=2, A=1]",
    "env_file: x.env",
    "env_file: [x.env]\nenvironment: {E: over}",
    "labels: {cl: x}\ndeploy: {labels: {sl: z}}",
    "labels: [cl=x, bare]",
    "hostname: h\nuser: '1000'\nworking_dir: /w",
    "stop_grace_period: 1m30s\nstop_signal: SIGINT",
    "tty: true\nstdin_open: true\nread_only: true\ninit: true",
    "init: false",
    "cap_add: [NET_ADMIN, SYS_TIME]\ncap_drop: [ALL]",
    "sysctls: {net.core.somaxconn: 1024}",
    "sysctls: [a=b]",
    "ulimits: {nofile: {soft: 10, hard: 20}, nproc: 5}",
    'extra_hosts: ["a:1.2.3.4", "b:5.6.7.8"]',
    "extra_hosts: {a: 1.2.3.4}",
    "dns: 8.8.8.8\ndns_search: [x.y]",
    "dns: [8.8.8.8, 1.1.1.1]",
    "logging: {driver: json-file, options: {max-size: 10m}}",
    "healthcheck: {test: curl x, interval: 5s, timeout: 3s, retries: 2, start_period: 1s}",
    "healthcheck: {disable: true}",
    "isolation: default",
    'ports: ["80"]',
    'ports: ["8080:80", "5000-5001:5000-5001/udp"]',
    "ports: [{target: 443, published: 8443, protocol: tcp, mode: host}]",
    "ports: [{target: 53, protocol: udp}]",
    'volumes: ["/anon", "/host:/h:ro"]',
    "volumes: [{type: bind, source: /a, target: /b, bind: {propagation: rslave}}]",
    "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 100}}]",
    "volumes: [{type: volume, target: /v, read_only: true}]",
    "deploy: {mode: global}",
    "deploy: {replicas: 0}",
    "deploy: {mode: replicated, replicas: 5}",
    "deploy: {endpoint_mode: dnsrr}",
    "deploy: {placement: {constraints: [node.role==worker, node.labels.a!=b]}}",
    "deploy: {placement: {preferences: [{spread: node.labels.z}], max_replicas_per_node: 2}}",
    'deploy: {resources: {limits: {cpus: "0.5", memory: 50M, pids: 10}}}',
    "deploy: {resources: {reservations: {cpus: '0.25', memory: 20M}}}",
    "deploy: {resources: {reservations: {generic_resources: "
    "[{discrete_resource_spec: {kind: gpu, value: 2}}]}}}",
    "deploy: {restart_policy: {condition: on-failure, delay: 5s, max_attempts: 3, window: 120s}}",
    "deploy: {restart_policy: {condition: none}}",
    "deploy: {restart_policy: {delay: 0s}}",
    "restart: on-failure:3",
    "restart: always",
    "deploy: {update_config: {parallelism: 2, delay: 10s, failure_action: rollback, "
    "monitor: 1m, max_failure_ratio: 0.3, order: start-first}}",
    "deploy: {update_config: {delay: 1s}, rollback_config: {parallelism: 0, order: stop-first}}",
]

# What only a recent docker understands: the keys, where they are sent, and what is sent there.
NEWER: list[tuple[str, tuple[str, ...], Any]] = [
    # neither a yes nor a no, as they are in YAML 1.1
    (
        "environment: {N: 3, y: 'on'}",
        ("TaskTemplate", "ContainerSpec", "Env"),
        ["N=3", "y=on"],
    ),
    ("deploy: {labels: {sl: y}}", ("Labels", "sl"), "y"),
    (
        'healthcheck: {test: ["CMD", "a", "b"], start_interval: 2s}',
        ("TaskTemplate", "ContainerSpec", "Healthcheck"),
        {"Test": ["CMD", "a", "b"], "StartInterval": 2_000_000_000},
    ),
    (
        "deploy: {mode: replicated-job, replicas: 2}",
        ("Mode", "ReplicatedJob"),
        {"MaxConcurrent": 2, "TotalCompletions": 2},
    ),
    ("deploy: {mode: global-job}", ("Mode",), {"GlobalJob": {}}),
]

FILES = {
    "networks": """
version: "3.9"
services:
  web: {image: nginx, networks: {front: {aliases: [www]}, back: }}
  db: {image: redis, networks: [back]}
  alone: {image: redis}
networks:
  front: {driver: overlay, attachable: true, driver_opts: {encrypted: "true"}, labels: {a: b}}
  back: {internal: true, ipam: {driver: default, config: [{subnet: 10.9.0.0/24}]}}
  unused: {}
""",
    "named networks": """
version: "3.9"
services:
  web: {image: nginx, networks: [out, own]}
networks:
  out: {external: true, name: net1}
  own: {name: mynet}
""",
    "volumes": """
version: "3.9"
services:
  web:
    image: nginx
    volumes: ["data:/data", "ext:/e:ro", "driven:/d", "named:/n"]
volumes:
  data: {labels: {v: w}}
  ext: {external: true, name: realext}
  driven: {driver: nfs, driver_opts: {a: b}}
  named: {name: exactly}
""",
    "secrets and configs": """
version: "3.9"
services:
  web:
    image: nginx
    secrets: [s1, {source: s2, target: /x, uid: "1", gid: "2", mode: 0400}, ext]
    configs: [c1, {source: c2, target: /y, mode: 0440}]
secrets:
  s1: {file: ./x.env, labels: {l: m}}
  s2: {file: ./x.env, name: named}
  ext: {external: true, name: there}
configs:
  c1: {file: ./x.env}
  c2: {external: true}
""",
    "default network": """
version: "3.9"
services:
  web: {image: nginx}
networks:
  default: {driver_opts: {a: b}, attachable: true}
""",
}


def meant(value: Any) -> Any:
    """Without what says nothing: nulls, zeros, defaults that docker spells out."""
    if isinstance(value, dict):
        kept = {key: meant(item) for key, item in value.items()}
        if kept.get("Protocol") == "tcp":
            del kept["Protocol"]
        if kept.get("PublishMode") == "ingress":
            del kept["PublishMode"]
        if not kept.get("Privileges"):
            kept.pop("Privileges", None)
        empty = (None, "", [])
        return {
            key: item
            for key, item in kept.items()
            if item not in empty and not (item in (0, {}) and key not in _COUNTS)
        }
    if isinstance(value, list):
        return [meant(item) for item in value]
    return value


_COUNTS = ("Replicas", "Parallelism", "Global", "GlobalJob", "Replicated", "Init", "Delay")


def furnish(api: ClusterApi) -> None:
    """What is external in the files."""
    for kind, name in (("secrets", "there"), ("configs", "c2")):
        meta = {"Version": {"Index": 1}, "CreatedAt": BORN, "UpdatedAt": BORN}
        getattr(api, kind)[name] = {"ID": name, **meta, "Spec": {"Name": name, "Labels": {}}}
    api.add_network("net1")


def told(api: ClusterApi) -> dict[str, Any]:
    """Every change by what it is about: order is a matter of taste, and ids follow from it."""
    names = {item["Id"]: item["Name"] for item in api.networks.values()}
    for kind in (api.secrets, api.configs):
        names |= {ref: item["Spec"]["Name"] for ref, item in kind.items()}

    def named(sent: Sent) -> Any:
        text = json.dumps(meant(sent.body))
        for ref, name in names.items():
            text = text.replace(f'"{ref}"', f'"{name}"')
        return json.loads(text)

    return {f"{s.method} {s.path} {s.body['Name']}": named(s) for s in api.changes()}


def deploy(side: Any, tmp_path: Path, text: str) -> dict[str, Any]:
    (tmp_path / "x.env").write_text("E=1\nF=two\n")
    path = tmp_path / "stack.yaml"
    path.write_text(text)
    furnish(side.api)
    done = side.run("stack", "deploy", "-c", str(path), "app")
    assert done.code == 0, done.err
    return told(side.api)


@pytest.mark.parametrize("text", SERVICES)
def test_a_service(text: str, ours: Any, docker: Any, tmp_path: Path) -> None:
    whole = service(text)
    assert deploy(ours, tmp_path, whole) == deploy(docker, tmp_path, whole)


@pytest.mark.parametrize(("text", "where", "value"), NEWER)
def test_a_service_of_a_newer_file(
    text: str, where: tuple[str, ...], value: Any, ours: Any, docker: Any, tmp_path: Path
) -> None:
    whole = service(text).replace("3.9", "3.13")
    sent = deploy(ours, tmp_path, whole)
    found = sent["POST /services/create app_web"]
    for key in where:
        found = found[key]
    assert found == value
    if docker.recent:
        assert sent == deploy(docker, tmp_path, whole)


@pytest.mark.parametrize("name", FILES)
def test_a_file(name: str, ours: Any, docker: Any, tmp_path: Path) -> None:
    assert deploy(ours, tmp_path, FILES[name]) == deploy(docker, tmp_path, FILES[name])


def test_what_docker_forgets_is_kept(ours: Any, tmp_path: Path) -> None:
    text = "oom_score_adj: 9\ntmpfs: /run:size=1m\ngroup_add: [g]\nmem_limit: 64m\nscale: 2\n"
    text += "volumes: [{type: volume, target: /v, volume: {nocopy: true}}]"
    spec = deploy(ours, tmp_path, service(text))["POST /services/create app_web"]
    part = spec["TaskTemplate"]["ContainerSpec"]
    assert part["OomScoreAdj"] == 9
    assert part["Groups"] == ["g"]
    assert part["Mounts"] == [
        {"Type": "volume", "Target": "/v", "VolumeOptions": {"NoCopy": True}},
        {"Type": "tmpfs", "Target": "/run", "TmpfsOptions": {"SizeBytes": 1 << 20}},
    ]
    assert spec["TaskTemplate"]["Resources"] == {"Limits": {"MemoryBytes": 64 << 20}}
    assert spec["Mode"] == {"Replicated": {"Replicas": 2}}


def test_what_is_not_honoured_is_named_once(ours: Any, tmp_path: Path) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text(
        service("container_name: x\nlinks: [a]\nprivileged: true\nnetwork_mode: host")
        + "  a: {image: redis, links: [b], expose: ['80']}\n  b: {image: redis}\n"
    )
    done = ours.run("stack", "deploy", "-c", str(path), "app")
    assert done.code == 0
    assert "Ignoring unsupported options: links, network_mode, privileged\n" in done.err
    assert "Ignoring deprecated options:" in done.err
    assert "container_name: " in done.err
    assert "expose: " in done.err


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("deploy: {replicas: many}", 5, 'must be a whole number, not "many"'),
        ("deploy: {mode: nope}", 5, '"nope" is not one of'),
        ("deploy: {mode: global, replicas: 2}", 5, "mean nothing in mode global"),
        ("user: a\ndeploy: {update_config: {delay: soon}}", 6, "must be a duration"),
        ("deploy:\n  update_config:\n    order: sideways", 7, '"sideways" is not one of'),
        ("deploy: [a]", 5, "services.web.deploy must be a mapping, not a list"),
        ("deploy: {replica: 2}", 5, 'unknown key; did you mean "replicas"?'),
        ("secrets: [nope]", 5, 'there is no secret "nope"'),
        ("networks: [nope]", 5, 'there is no network "nope"'),
    ],
)
def test_a_mistake_is_shown_with_file_line_and_key(
    text: str, line: int, words: str, ours: Any, tmp_path: Path
) -> None:
    path = tmp_path / "stack.yaml"
    path.write_text(service(text))
    done = ours.run("stack", "deploy", "-c", str(path), "app")
    assert done.code == 1
    assert f"stack.yaml:{line}: " in done.err
    assert words in done.err
    assert not ours.api.changes()
