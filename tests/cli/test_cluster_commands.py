"""The cluster's commands from the outside, most of them beside docker's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import termios
import threading
from pathlib import Path
from typing import Any

import pytest

from sampan.cli.service.logs import lines, parse_details
from sampan.cli.service.tasks import ports
from sampan.cli.swarm.why import screen
from sampan.testing.cluster_api import ClusterApi

SETUP = (
    "service create -d --name web --replicas 2 -p 80:80 -p 81:81/udp --limit-cpu 1 --label a=b "
    "--update-delay 1s --constraint node.role==worker --network ingress --env A=b "
    "--mount type=bind,source=/a,target=/b --replicas-max-per-node 3 img echo",
    "service create -d --name glob --mode global img",
    "service create -d --name job --mode replicated-job --replicas 3 img",
    "secret create --label x=y s1 FILE",
    "config create c1 FILE",
    "stack deploy -c STACK app",
)
SAME = """
service ls
service ls -q
service ls -f label=a=b
service ls --format {{.Name}}:{{.Replicas}}:{{.Ports}}
service ls --format table\\s{{.Name}}\\s{{.Mode}}
service ps web
service ps --no-trunc web
service ps -q web
service ps --no-resolve web
service ps web glob job
service ps --format {{.Name}}|{{.Node}}|{{.DesiredState}}|{{.Error}} web
service ps nope web
service inspect --pretty web
service inspect --pretty glob
service inspect --format {{.Spec.Name}}|{{.Spec.TaskTemplate.ContainerSpec.Image}} web
service inspect nope
service rm nope glob
service scale -d web=5
service scale -d glob=5 web=1
service scale -d nope=5
node ls
node ls -q
node ls --format {{.Hostname}}|{{.Status}}|{{.Self}}|{{.ManagerStatus}}
node inspect --pretty self
node inspect --format {{.Description.Hostname}} self host2
node ps
node ps host2
node ps host2 -q
node demote host2
node promote host2
node update --availability drain --label-add a=b host2
node update --label-rm nope host2
node rm host2
node rm -f host2
secret ls
secret ls -q
secret ls --format {{.Name}}|{{.CreatedAt}}|{{.Labels}}
secret inspect s1
secret inspect --format {{.Spec.Name}} s1 nope
secret rm s1 nope
config ls
config inspect c1
config inspect --pretty c1
config rm c1
swarm join-token -q worker
swarm ca
swarm update --task-history-limit 3
swarm update --autolock=false --cert-expiry 48h
swarm leave --force
swarm ca --cert-expiry 1h
swarm unlock-key --rotate
swarm unlock-key -q
stack ls
stack ls --format {{.Name}}={{.Services}}
stack services app
stack services -q app
stack services nope
stack ps app
stack ps -q app
stack ps nope
stack rm app
stack rm nope
"""

# What a recent docker says where older ones have words of their own.
SAID = {
    "stack ls": ["NAME      SERVICES", "app       2"],
    "secret inspect --format {{.Spec.Name}} s1 nope": [
        "Error response from daemon: secret nope not found"
    ],
    "secret rm s1 nope": ["Error response from daemon: secret nope not found"],
    "service scale -d nope=5": ["nope: Error response from daemon: service nope not found"],
    "service rm nope glob": ["Error response from daemon: service nope not found"],
    "service inspect nope": ["Error: no such service: nope"],
}


def prepare(side: Any, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("content\n")
    stack = tmp_path / "stack.yaml"
    stack.write_text(
        'version: "3.9"\nservices:\n  one: {image: img, deploy: {replicas: 2}}\n  two: {image: b}\n'
    )
    for line in SETUP:
        words = [
            {"FILE": str(tmp_path / "data"), "STACK": str(stack)}.get(word, word)
            for word in line.split()
        ]
        done = side.run(*words)
        assert done.code == 0, done.err
    side.api.sent.clear()


def shape(text: str) -> list[str]:
    """Lines without the blanks that only docker leaves at their ends."""
    kept = [line.rstrip() for line in text.strip().splitlines()]
    return [line for line in kept if line]


def changes(api: ClusterApi) -> list[tuple[str, str, dict[str, str]]]:
    return [(s.method, s.path, {**s.query, "version": ""}) for s in api.changes()]


@pytest.mark.parametrize("line", SAME.strip().splitlines())
def test_the_same_words_do_the_same(line: str, ours: Any, docker: Any, tmp_path: Path) -> None:
    words = [word.replace("\\s", " ") for word in line.split()]
    prepare(ours, tmp_path)
    docker.api.adopt(ours.api)
    mine, theirs = ours.run(*words), docker.run(*words)
    assert mine.code == theirs.code
    assert changes(ours.api) == changes(docker.api) or line.startswith("stack rm")
    out, err = shape(theirs.out), shape(theirs.err)
    if line in SAID:
        if docker.recent:
            assert (err if theirs.code else out) == SAID[line]
        elif theirs.code:
            err = SAID[line]
        else:
            out = SAID[line]
    assert shape(mine.out) == out
    if theirs.code and not line.startswith(("swarm", "node update")):
        assert shape(mine.err) == err


@pytest.mark.parametrize(
    "line",
    [
        "swarm init",
        "swarm init --advertise-addr 192.0.2.7 --listen-addr eth0:2400 --data-path-addr eth1",
        "swarm init --default-addr-pool 10.1.0.0/16 --default-addr-pool-mask-length 26",
        "swarm init --cert-expiry 24h --dispatcher-heartbeat 2s --task-history-limit 3 --autolock",
        "swarm init --availability drain --force-new-cluster --max-snapshots 2",
        "swarm init --data-path-port 5000 --snapshot-interval 500",
        "swarm join --token SWMTKN-1-x 192.0.2.1:2377",
        "swarm join --token t --advertise-addr eth0 --availability pause 192.0.2.1",
        "swarm update --dispatcher-heartbeat 3s",
        "swarm join-token --rotate manager",
        "swarm ca --rotate -d",
        "swarm ca --rotate -d --cert-expiry 1h",
    ],
)
def test_forming_sends_what_docker_sends(line: str, ours: Any, docker: Any) -> None:
    for side in (ours, docker):
        done = side.run(*line.split())
        assert done.code == 0, done.err
    (mine,), (theirs,) = ours.api.changes(), docker.api.changes()
    assert (mine.path, mine.query) == (theirs.path, theirs.query)
    assert said(mine.body) == said(theirs.body)


def said(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: said(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item not in (None, "", 0, [], {})}
    return value


def test_create_watches_until_it_has_converged(ours: Any) -> None:
    done = ours.run("service", "create", "--update-monitor", "1ms", "--replicas", "2", "img")
    assert done.code == 0
    identifier, *rest = done.out.splitlines()
    assert rest[0] == "overall progress: 2 out of 2 tasks"
    assert rest[1].startswith("1/2: running on host")
    assert rest[-1] == f"verify: Service {identifier} converged"


def test_an_update_that_pauses_is_a_failure(ours: Any) -> None:
    ours.run("service", "create", "-d", "--name", "web", "img")

    def pause(service: dict[str, Any]) -> None:
        service["UpdateStatus"] = {"State": "paused", "Message": "update paused due to failure"}

    ours.api.on_update = pause
    done = ours.run("service", "update", "--force", "web")
    assert done.code == 1
    assert done.err.splitlines()[-1] == "service update paused: update paused due to failure"


def test_rollback_takes_the_spec_before(ours: Any, docker: Any) -> None:
    for side in (ours, docker):
        assert side.run("service", "create", "-d", "--name", "web", "img").code == 0
        assert side.run("service", "update", "-d", "--env-add", "A=1", "web").code == 0
        done = side.run("service", "rollback", "-d", "web")
        assert (done.code, done.out.strip()) == (0, "web")
    assert ours.api.last("/update").query == docker.api.last("/update").query
    assert ours.run("service", "rollback", "-d", "web").code == 1


@pytest.mark.parametrize("started", ["by a terminal's shell", "as a background job"])
def test_ctrl_c_leaves_the_service_as_it_is(tmp_path: Path, started: str) -> None:
    api = ClusterApi()
    asked = threading.Event()

    def wait(task: dict[str, Any]) -> None:
        task["Status"] = {"State": "pending", "Err": "no suitable node (2 nodes are too small)"}
        asked.set()

    api.on_task = wait
    with api.serve(tmp_path / "s") as host:
        command = [sys.executable, "-m", "sampan.cli.main", "-H", host]
        how = "--ignore-signal=INT" if "background" in started else "--default-signal=INT"
        process = subprocess.Popen(
            [
                "env",
                how,
                *command,
                "service",
                "create",
                "--name",
                "web",
                "--no-resolve-image",
                "img",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(3)]
        assert asked.is_set()
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=20)
    assert seen[2] == "1/1: no suitable node (2 nodes are too small)\n"
    assert process.returncode == 0
    assert "Operation continuing in background." in rest
    assert "sampan service ps" in rest
    assert [s["Spec"]["Name"] for s in api.services.values()] == ["web"]


def test_a_terminal_is_redrawn_in_place(tmp_path: Path) -> None:
    api = ClusterApi()
    ours, theirs = os.openpty()
    termios.tcsetwinsize(ours, (24, 80))
    with api.serve(tmp_path / "s") as host:
        command = [sys.executable, "-m", "sampan.cli.main", "-H", host, "service", "create"]
        process = subprocess.Popen(
            [*command, "--update-monitor", "300ms", "--no-resolve-image", "img"],
            stdout=theirs,
            stderr=subprocess.PIPE,
        )
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 4096):
                text += piece
        except OSError:  # a terminal whose last writer has left
            pass
        assert process.wait(20) == 0
        assert process.stderr is not None
        process.stderr.close()
    os.close(ours)
    assert b"\x1b[3A\r\x1b[2Koverall progress: 1 out of 1 tasks" in text
    assert text.rstrip().endswith(b" converged")


def frame(stream: int, text: str) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text.encode()


def test_logs_carry_the_name_of_their_task(ours: Any, docker: Any) -> None:
    found = []
    for side in (ours, docker):
        side.run("service", "create", "-d", "--name", "web", "--replicas", "2", "img")
        service = next(iter(side.api.services))
        text = b""
        for task in side.api.tasks.values():
            context = (
                f"com.docker.swarm.node.id={task['NodeID']},"
                f"com.docker.swarm.service.id={service},com.docker.swarm.task.id={task['ID']}"
            )
            text += frame(1, f"{context} hello from {task['Slot']}\n")
            text += frame(2, f"{context} oops, a = b\n")
        side.api.logs = text
        for words in ((), ("--no-resolve",), ("--no-trunc",), ("--no-task-ids",), ("--details",)):
            done = side.run("service", "logs", *words, "web")
            assert done.code == 0, done.err
            found.append([words, sorted(done.out.splitlines()), sorted(done.err.splitlines())])
    half = len(found) // 2
    for mine, theirs in zip(found[:half], found[half:], strict=True):
        assert [" ".join(line.split()) for line in mine[1]] == [
            " ".join(line.split()) for line in theirs[1]
        ]
        assert len(mine[2]) == len(theirs[2])
    asked = [sent.query for sent in ours.api.sent if sent.path.endswith("/logs")]
    assert {query["details"] for query in asked} == {"1"}


def test_logs_of_a_terminal_are_shown_raw_or_not_at_all(ours: Any, docker: Any) -> None:
    for side in (ours, docker):
        side.run("service", "create", "-d", "--name", "web", "--tty", "img")
        side.api.logs = b"hello\r\n"
        refused = side.run("service", "logs", "web")
        assert refused.code == 1
        assert "tty service logs only supported with --raw" in refused.err
        assert side.run("service", "logs", "--raw", "web").out.split() == ["hello"]


def test_log_lines_come_whole() -> None:
    pieces = [(1, b"a"), (2, b"x\n"), (1, b"b\nc\nd")]
    assert list(lines(pieces)) == [(2, b"x\n"), (1, b"ab\n"), (1, b"c\n"), (1, b"d\n")]
    assert parse_details("a=b,c%2C=d%3D") == {"a": "b", "c,": "d="}


def test_ports_are_drawn_together() -> None:
    found = [{"Protocol": "tcp", "TargetPort": 80 + n, "PublishedPort": 8000 + n} for n in range(3)]
    assert ports([*found, {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 53}]) == (
        "*:8000-8002->80-82/tcp, *:53->53/udp"
    )
    assert ports([{"TargetPort": 80}]) == ""


def test_why(ours: Any) -> None:
    ours.run("service", "create", "-d", "--name", "web", "img")
    ours.api.why = {
        "name": "web", "mode": "replicated", "running": 1, "desired": 2, "completed": 0,
        "summary": "1 of 2 tasks are as they should be", "rollout": None,
        "tasks": [
            {"name": "web.1", "node": "host1", "state": "running", "since_s": 90.0, "ok": True,
             "waits_for": "", "reason": "runs on node host1", "error": "", "failures": 0},
            {"name": "web.2", "node": "", "state": "pending", "since_s": 3.0, "ok": False,
             "waits_for": "scheduler", "reason": "no suitable node (...)",
             "error": "exit 1", "failures": 2},
        ],
    }  # fmt: skip
    done = ours.run("cluster", "why", "web")
    assert done.code == 0
    assert shape(done.out) == [
        "web (replicated): 1 of 2 tasks running",
        "1 of 2 tasks are as they should be",
        "TASK      NODE      STATE     FOR              WAITS FOR",
        "web.1     host1     running   about a minute   runs on node host1",
        "web.2     -         pending   3 seconds        scheduler: no suitable node (...) "
        "(failed 2 times, last: exit 1)",
    ]
    assert json.loads(ours.run("cluster", "why", "--format", "json", "web").out) == ours.api.why
    folded = list(screen(ours.api.why, 80))
    assert all(len(line) <= 80 for line in folded)
    assert folded[-1].strip().endswith("last: exit 1)")
    assert ours.run("cluster", "why", "nope").code == 1


def test_listing_services_imports_nothing_heavy() -> None:
    script = (
        "import sys, sampan.cli.main, sampan.cli.service.list, sampan.client\n"
        "heavy = {'argparse', 'asyncio', 'dataclasses', 'http.client', 'ssl', 'typing',"
        " 'pathlib', 'msgspec', 'yaml', 'subprocess', 'urllib', 'logging', 'copy'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}\n{script}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stderr.strip(), done.returncode) == ("", 0)


def test_info_tells_of_the_swarm(ours: Any, docker: Any) -> None:
    docker.api.adopt(ours.api)
    mine, theirs = ours.run("info").out, docker.run("info").out
    begin, end = "Swarm: active", "  192.0.2.1:2377"
    told = {line.strip() for line in theirs[theirs.index(begin) :].splitlines()}
    shown = mine[mine.index(begin) : mine.index(end) + len(end)].splitlines()
    assert len(shown) > 8
    assert {line.strip() for line in shown} <= told
