"""What ``service create`` and ``service update`` send, beside what docker's send."""

from __future__ import annotations

import base64
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from sampan.testing.cluster_api import ClusterApi
from sampan.testing.cluster_members import BORN, Sent

CREATE = """
img
img:1 sleep 1
img@sha256:0000000000000000000000000000000000000000000000000000000000000000
--replicas 3 img
--replicas 0 img
--mode global img
--mode replicated-job --replicas 4 img
--mode replicated-job --replicas 4 --max-concurrent 2 img
--mode replicated-job img
--mode global-job img
-p 80 img
-p 80:80 img
-p 8080:80/udp -p 81:81 img
-p 8000-8002:80-82 img
-p 8000-8002:80 img
-p published=8080,target=80,protocol=udp,mode=host img
-p target=80 img
-p 80:80/sctp img
--publish mode=host,target=443 img
-e A=b -e C= -e A=c img
-e FROM_OUTSIDE img
--env-file FILE -e X=y img
--label a=b --label c --container-label d=e img
--hostname {{.Node.Hostname}} --user 1:2 -w /x img
-t --read-only --init img
--init=false img
--stop-signal INT --stop-grace-period 1m img
--group 1 --group a img
--cap-add NET_ADMIN --cap-add cap_sys_admin --cap-drop ALL img
--cap-add ALL --cap-drop NET_RAW img
--sysctl a=b --sysctl c=d img
--ulimit nofile=10:20 img
--ulimit nproc=5 img
--dns 8.8.8.8 --dns-search a.b --dns-option timeout:1 img
--host a:1.2.3.4 --host b:::1 img
--entrypoint "sh -c 'a b'" img x
--health-cmd "curl x" --health-interval 5s --health-timeout 3s --health-retries 2 img
--no-healthcheck img
--isolation default img
--limit-cpu 0.5 --limit-memory 64m --limit-pids 10 img
--reserve-cpu 1.5 --reserve-memory 1g img
--generic-resource gpu=2 --generic-resource apple=1 img
--restart-condition none img
--restart-delay 1s --restart-max-attempts 3 --restart-window 1m30s img
--restart-condition on-failure --restart-max-attempts 0 img
--update-parallelism 2 img
--update-parallelism 0 --update-delay 1s --update-failure-action rollback img
--update-monitor 10s --update-max-failure-ratio 0.25 --update-order start-first img
--rollback-parallelism 3 --rollback-delay 1s --rollback-failure-action continue img
--rollback-monitor 1s --rollback-max-failure-ratio 1 --rollback-order start-first img
--constraint node.role==manager --constraint node.labels.a!=b img
--placement-pref spread=node.labels.zone --placement-pref spread=node.labels.rack img
--replicas-max-per-node 2 img
--log-driver json-file --log-opt max-size=1m img
--endpoint-mode dnsrr img
--endpoint-mode VIP img
--mount type=volume,target=/x img
--mount type=volume,source=v,target=/x,readonly,volume-nocopy img
--mount source=v,dst=/x,ro=true img
--mount type=volume,source=v,target=/x,volume-driver=d,volume-opt=a=b,volume-label=c=d img
--mount type=bind,source=/a,target=/b,bind-propagation=rslave img
--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777 img
--network net1 img
--network net2 --network net1 img
--network name=net1,alias=www,alias=w2,driver-opt=a=b img
--secret s1 img
--secret source=s1,target=/x,uid=1,gid=2,mode=0400 --secret s2 img
--config c1 --config source=c1,target=/other,mode=0440 img
--with-registry-auth --no-resolve-image img
known:1
"""

# What only a recent docker knows, and what it sends in the specification of the container.
NEWER: list[tuple[str, dict[str, Any]]] = [
    (
        "--health-start-period 1s --health-start-interval 2s img",
        {"Healthcheck": {"StartPeriod": 1_000_000_000, "StartInterval": 2_000_000_000}},
    ),
    ("--oom-score-adj 100 img", {"OomScoreAdj": 100}),
    (
        "--mount source=v,dst=/x,ro=true,volume-subpath=s img",
        {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "v",
                    "Target": "/x",
                    "ReadOnly": True,
                    "VolumeOptions": {"Subpath": "s"},
                }
            ]
        },
    ),
    (
        "--mount type=bind,source=/a,target=/b,ro,bind-recursive=writable img",
        {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "/a",
                    "Target": "/b",
                    "ReadOnly": True,
                    "BindOptions": {"ReadOnlyNonRecursive": True},
                }
            ]
        },
    ),
    (
        "--mount type=bind,source=/a,target=/b,bind-recursive=disabled img",
        {
            "Mounts": [
                {
                    "Type": "bind",
                    "Source": "/a",
                    "Target": "/b",
                    "BindOptions": {"NonRecursive": True},
                }
            ]
        },
    ),
]

REFUSED = """
-p 127.0.0.1:80:80 img
--mode global --replicas 2 img
--mode nope img
--mode replicated --max-concurrent 2 img
--mode global --replicas-max-per-node 1 img
--secret nope img
--config nope img
--network nope img
--secret s1 --secret source=s2,target=s1 img
--no-healthcheck --health-cmd x img
--mode replicated-job --update-delay 1s img
-p 99999:80 img
-p a=b img
--mount type=volume img
--restart-delay x img
--limit-memory x img
--generic-resource gpu=a img
--placement-pref zone img
--replicas x img
--nope img
"""

UPDATE = """
--image other
--image known:1
--args "a 'b c'"
--args ""
--entrypoint /x
--replicas 7
--env-add A=z --env-add N=1
--env-rm A
--label-add k=v --label-rm sl
--container-label-add k=v --container-label-rm cl
--hostname h --user u -w /y
--hostname ""
--read-only --tty
--init
--stop-signal KILL --stop-grace-period 3s
--group-add g2 --group-rm g1
--cap-add SYS_TIME --cap-drop NET_ADMIN
--cap-add CHOWN
--sysctl-add x=y --sysctl-rm a
--ulimit-add nproc=1:2 --ulimit-rm nofile
--dns-add 1.1.1.1 --dns-rm 8.8.8.8
--dns-search-add z.z --dns-option-add ndots:1
--host-add z:9.9.9.9
--host-rm a:1.2.3.4
--host-rm a
--health-cmd "other cmd"
--health-interval 9s
--no-healthcheck
--limit-cpu 2 --reserve-memory 2g
--limit-pids 5
--generic-resource-add fpga=1
--generic-resource-rm gpu
--restart-condition none --restart-delay 7s
--restart-max-attempts 1
--update-parallelism 5
--update-order start-first --update-delay 0s
--rollback-delay 4s
--constraint-add node.id==x
--constraint-rm node.role==manager
--placement-pref-add spread=node.labels.b
--placement-pref-rm spread=node.labels.a
--replicas-max-per-node 4
--log-driver syslog --log-opt a=b
--endpoint-mode dnsrr
--publish-add 9000:90
--publish-add published=80,target=80
--publish-rm 80
--publish-rm 80 --publish-add 8080:80
--mount-add type=bind,source=/q,target=/q
--mount-rm /x
--mount-add type=volume,source=other,target=/x
--network-add net2
--network-rm net1
--network-add name=net2,alias=a --network-rm net1
--secret-add s2
--secret-rm s1
--secret-rm s1 --secret-add source=s1,target=new
--config-add c1
--isolation process
--force
--quiet
"""

BASE = """
--name web --replicas 2 -p 80:80 --label sl=x --container-label cl=x -e A=b -e B=c --user 1
--mount type=volume,source=v,target=/x --network net1 --secret s1 --group g1 --cap-add NET_ADMIN
--sysctl a=b --ulimit nofile=1:2 --dns 8.8.8.8 --host a:1.2.3.4 --health-cmd x --limit-cpu 1
--generic-resource gpu=1 --update-delay 1s --constraint node.role==manager
--placement-pref spread=node.labels.a --log-driver json-file --hostname old
"""


def furnish(api: ClusterApi) -> None:
    """Things for flags to name, with the same ids on both sides."""
    for kind, names in (("secrets", ("s1", "s2")), ("configs", ("c1",))):
        for name in names:
            data = base64.b64encode(b"x").decode()
            item = {
                "ID": f"id-{name}", "Version": {"Index": 1}, "CreatedAt": BORN, "UpdatedAt": BORN,
                "Spec": {"Name": name, "Labels": {}, "Data": data},
            }  # fmt: skip
            getattr(api, kind)[item["ID"]] = item
    for name in ("net1", "net2"):
        api.add_network(name)
    api.images["known:1"] = "sha256:" + "1" * 64


def meant(value: Any) -> Any:
    """Without what says nothing: nulls, and lists and texts that are empty."""
    if isinstance(value, dict):
        kept = {key: meant(item) for key, item in value.items()}
        if kept.get("DriverConfig") == {}:
            del kept["DriverConfig"]
        return {key: item for key, item in kept.items() if item not in (None, "", [])}
    if isinstance(value, list):
        return [meant(item) for item in value]
    return value


def in_any_order(spec: dict[str, Any]) -> dict[str, Any]:
    """docker keeps some lists in a Go map on the way: their order is chance."""
    part = spec["TaskTemplate"]["ContainerSpec"]
    reserved = spec["TaskTemplate"].get("Resources", {}).get("Reservations", {})
    for where, key in (
        (part, "Env"),
        (part, "Mounts"),
        (part, "Secrets"),
        (part, "Configs"),
        (reserved, "GenericResources"),
        (spec.get("EndpointSpec", {}), "Ports"),
    ):
        if key in where:
            where[key] = sorted(where[key], key=lambda item: json.dumps(item, sort_keys=True))
    return spec


def words(line: str, tmp_path: Path) -> list[str]:
    path = tmp_path / "file.env"
    path.write_text("# comment\nF=1\nX=z\n")
    return [str(path) if word == "FILE" else word for word in shlex.split(line)]


def create(side: Any, line: str, tmp_path: Path) -> Sent:
    """What a ``service create`` sends."""
    furnish(side.api)
    done = side.run("service", "create", "-d", "--name", "x", *words(line, tmp_path))
    assert done.code == 0, done.err
    printed = done.out.split()[0]
    assert printed in side.api.services
    sent: Sent = side.api.last("/services/create")
    return sent


def update(side: Any, line: str) -> Sent:
    """What a ``service update`` sends for a service that has everything."""
    furnish(side.api)
    made = side.run("service", "create", "-d", *shlex.split(BASE), "img:1", "echo")
    assert made.code == 0, made.err
    done = side.run("service", "update", "-d", *shlex.split(line), "web")
    assert done.code == 0, done.err
    assert done.out.startswith("web\n")
    sent: Sent = side.api.last("/update")
    return sent


@pytest.mark.parametrize("line", CREATE.strip().splitlines())
def test_create_sends_what_docker_sends(line: str, ours, docker, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mine, theirs = (create(side, line, tmp_path) for side in (ours, docker))
    assert in_any_order(meant(mine.body)) == in_any_order(meant(theirs.body))
    assert mine.query == theirs.query


@pytest.mark.parametrize(("line", "part"), NEWER)
def test_create_sends_what_a_recent_docker_sends(  # type: ignore[no-untyped-def]
    line: str, part: dict[str, Any], ours, docker, tmp_path: Path
) -> None:
    created = [create(ours, line, tmp_path)]
    if docker.recent:
        created.append(create(docker, line, tmp_path))
    for sent in created:
        spec = in_any_order(meant(sent.body))["TaskTemplate"]["ContainerSpec"]
        assert {key: spec[key] for key in part} == part
    assert in_any_order(meant(created[0].body)) == in_any_order(meant(created[-1].body))


def test_update_sends_what_a_recent_docker_sends(ours, docker) -> None:  # type: ignore[no-untyped-def]
    updated = [update(ours, "--oom-score-adj 5")]
    if docker.recent:
        updated.append(update(docker, "--oom-score-adj 5"))
    for sent in updated:
        assert sent.body["TaskTemplate"]["ContainerSpec"]["OomScoreAdj"] == 5
    assert in_any_order(meant(updated[0].body)) == in_any_order(meant(updated[-1].body))


@pytest.mark.parametrize("line", REFUSED.strip().splitlines())
def test_create_refuses_what_docker_refuses(line: str, ours, docker, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for side in (ours, docker):
        furnish(side.api)
        done = side.run("service", "create", "-d", "--name", "x", *words(line, tmp_path))
        assert done.code != 0
        assert done.err
        assert not side.api.changes()


def test_options_of_no_log_driver_are_refused(ours) -> None:  # type: ignore[no-untyped-def]
    """docker drops them."""
    furnish(ours.api)
    done = ours.run("service", "create", "-d", "--name", "x", "--log-opt", "max-size=1m", "img")
    assert done.code != 0
    assert "name it with --log-driver" in done.err
    assert not ours.api.changes()


@pytest.mark.parametrize("line", UPDATE.strip().splitlines())
def test_update_sends_what_docker_sends(line: str, ours, docker, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    mine, theirs = (update(side, line) for side in (ours, docker))
    assert in_any_order(meant(mine.body)) == in_any_order(meant(theirs.body))
    assert mine.query == theirs.query


@pytest.mark.parametrize(
    "flags",
    ["--env-add NEW=1", "--label-add b=c", "--publish-add 81:81", "--restart-delay 1s",
     "--update-delay 1s", "--limit-memory 64m", "--mount-add type=tmpfs,target=/t",
     "--health-retries 3", "--constraint-add node.id==y", "--network-add net1", "--force"],
)  # fmt: skip
def test_update_of_a_bare_service(flags: str, ours, docker) -> None:  # type: ignore[no-untyped-def]
    sent = []
    for side in (ours, docker):
        furnish(side.api)
        assert side.run("service", "create", "-d", "--name", "web", "img").code == 0
        done = side.run("service", "update", "-d", *flags.split(), "web")
        assert done.code == 0, done.err
        sent.append(side.api.last("/update"))
    assert meant(sent[0].body) == meant(sent[1].body)
