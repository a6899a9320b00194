"""Services: made, scaled, updated, rolled back, removed; and what stands in their way."""

from __future__ import annotations

import pytest

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.lab.services import (
    SERVE,
    complaints,
    create,
    fetch,
    inspect,
    remove,
    tasks,
    update_state,
    wait_for,
    wait_running,
    wanted,
)
from sampan.testing.place import wait_until

SLEEP = ("busybox", "sleep", "1000")


def refused(host: LabHost, *words: str) -> str:
    done = host.docker(*words, ok=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def listed(manager: LabHost, service: str) -> str:
    line = ("service", "ls", "--filter", f"name={service}", "--format", "{{.Mode}} {{.Replicas}}")
    return manager.docker(*line).stdout.strip()


def test_scale_up_and_down(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(one, "web", "--replicas", "3", *SLEEP)
    at = wait_running(one, "web", 3)
    assert set(at.values()) == {"host1", "host2", "host3"}
    assert set(at) == {"web.1", "web.2", "web.3"}
    assert listed(one, "web") == "replicated 3/3"
    one.docker("service", "scale", "-d", "web=6")
    at = wait_running(one, "web", 6)
    assert sorted(at.values()) == ["host1", "host1", "host2", "host2", "host3", "host3"]
    one.docker("service", "scale", "-d", "web=0")
    wait_running(one, "web", 0)
    assert wait_until(lambda: listed(one, "web") == "replicated 0/0")
    one.docker("service", "scale", "-d", "web=2")
    wait_running(one, "web", 2)
    one.docker("service", "rm", "web")
    assert "no such service: web" in refused(one, "service", "inspect", "web")


def test_global_is_one_a_node(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(one, "each", "--mode", "global", *SLEEP)
    assert set(wait_running(one, "each", 3).values()) == {"host1", "host2", "host3"}
    one.docker("service", "update", "-dq", "--constraint-add", "node.role==worker", "each")
    assert set(wait_running(one, "each", 2).values()) == {"host2", "host3"}


def test_jobs_end(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(
        one,
        "job",
        "--mode",
        "replicated-job",
        "--replicas",
        "4",
        "--max-concurrent",
        "2",
        "busybox",
        "true",
    )
    wait_for(
        lambda: [t["CurrentState"].split()[0] for t in tasks(one, "job")] == ["Complete"] * 4,
        one,
        "job",
        "complete",
    )
    create(one, "sweep", "--mode", "global-job", "busybox", "true")
    wait_for(
        lambda: [t["CurrentState"].split()[0] for t in tasks(one, "sweep")] == ["Complete"] * 3,
        one,
        "sweep",
        "complete",
    )


def test_update_and_rollback(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(
        one, "web", "--replicas", "4", "--update-parallelism", "2", "--update-monitor", "1s", *SLEEP
    )
    wait_running(one, "web", 4)
    before = inspect(one, "web")
    one.docker(
        "service", "update", "-dq", "--env-add", "COLOUR=blue", "--stop-grace-period", "1s", "web"
    )
    wait_for(lambda: update_state(one, "web") == "completed", one, "web", "update complete")
    wait_running(one, "web", 4)
    now = inspect(one, "web")
    assert now["Spec"]["TaskTemplate"]["ContainerSpec"]["Env"] == ["COLOUR=blue"]
    assert "Env" not in now["PreviousSpec"]["TaskTemplate"]["ContainerSpec"]
    assert now["PreviousSpec"]["Mode"] == before["Spec"]["Mode"]
    assert now["Version"]["Index"] > before["Version"]["Index"]
    one.docker("service", "rollback", "-dq", "web")
    wait_for(
        lambda: update_state(one, "web") == "rollback_completed", one, "web", "rollback complete"
    )
    wait_running(one, "web", 4)
    assert (
        inspect(one, "web")["Spec"]["TaskTemplate"] | {"ForceUpdate": 0}
        == before["Spec"]["TaskTemplate"]
    )


def test_an_update_that_fails_pauses(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(one, "web", "--replicas", "3", "--update-monitor", "2s", *SLEEP)
    wait_running(one, "web", 3)
    one.docker("service", "update", "-dq", "--args", "no-such-command", "web")
    wait_for(lambda: update_state(one, "web") == "paused", one, "web", "update paused")
    assert "update paused due to failure" in inspect(one, "web")["UpdateStatus"]["Message"]
    # the others were left alone
    assert len(swarm.running(one, "web")) == 2


def test_an_update_that_fails_rolls_back(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(
        one,
        "web",
        "--replicas",
        "3",
        "--update-monitor",
        "2s",
        "--update-failure-action",
        "rollback",
        "--rollback-monitor",
        "1s",
        *SLEEP,
    )
    wait_running(one, "web", 3)
    one.docker("service", "update", "-dq", "--args", "no-such-command", "web")
    wait_for(lambda: update_state(one, "web") == "rollback_completed", one, "web", "rolled back")
    wait_running(one, "web", 3)
    failed = [t for t in tasks(one, "web") if t["Error"]]
    assert any("no-such-command" in t["Error"] for t in failed), failed


def test_nobody_fulfils_a_constraint(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(one, "picky", "--constraint", "node.labels.disk==ssd", *SLEEP)

    def reason() -> str:
        return "".join(t["Error"] for t in wanted(one, "picky"))

    wait_for(
        lambda: "no suitable node (scheduling constraints not satisfied on 3 nodes)" in reason(),
        one,
        "picky",
        "reason",
    )
    assert wanted(one, "picky")[0]["CurrentState"].startswith("Pending")
    assert wanted(one, "picky")[0]["Node"] == ""
    (complaint,) = complaints(one)
    assert complaint.startswith("picky.1: Pending ")
    assert complaint.endswith(
        ": no suitable node (scheduling constraints not satisfied on 3 nodes)"
    )
    # it is only waiting
    one.docker("node", "update", "--label-add", "disk=ssd", "host2")
    assert wait_running(one, "picky", 1) == {"picky.1": "host2"}
    one.docker("node", "update", "--label-rm", "disk", "host2")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--reserve-memory", "900g"], "insufficient resources on 3 nodes"),
        (
            [
                "--constraint",
                "node.hostname==host2",
                "--replicas-max-per-node",
                "1",
                "--replicas",
                "2",
            ],
            "max replicas per node limit exceed",
        ),
    ],
)
def test_too_much_is_asked(swarm3: Lab, words: list[str], sentence: str) -> None:
    one = swarm3.hosts[0]
    create(one, "greedy", *words, *SLEEP)
    wait_for(
        lambda: sentence in "".join(t["Error"] for t in wanted(one, "greedy")),
        one,
        "greedy",
        sentence,
    )


def test_what_is_refused(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    new = ("service", "create", "-dq", "--no-resolve-image")
    create(one, "web", "--publish", "8123:80", "--replicas", "0", *SLEEP)
    assert "name conflicts with an existing object" in refused(one, *new, "--name", "web", *SLEEP)
    taken = refused(one, *new, "--name", "other", "--publish", "8123:80", *SLEEP)
    assert "port '8123' is already in use by service 'web'" in taken
    unknown = refused(one, *new, "--network", "nosuch", *SLEEP)
    # a docker of 2023 says the second whatever the answer was
    assert "network nosuch not found" in unknown or "No such network: nosuch" in unknown
    assert "secret not found: nosuch" in refused(one, *new, "--secret", "nosuch", *SLEEP)
    assert "config not found: nosuch" in refused(one, *new, "--config", "nosuch", *SLEEP)
    assert "name must be valid as a DNS name component" in refused(
        one, *new, "--name", "not_/ok", *SLEEP
    )
    unknown = refused(one, "node", "inspect", "nobody")
    assert "node nobody not found" in unknown or "No such node: nobody" in unknown
    assert "no such service: nobody" in refused(one, "service", "ps", "nobody")
    assert "constraint expected one operator from ==, !=" in refused(
        one, *new, "--constraint", "node.role~worker", *SLEEP
    )
    one.docker("service", "rm", "web")


def test_a_network_in_use_stays(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    one.docker("network", "create", "-d", "overlay", "used")
    create(one, "web", "--network", "used", *SLEEP)
    wait_running(one, "web", 1)
    assert "in use by" in refused(one, "network", "rm", "used")
    remove(swarm3, "web")
    assert wait_until(lambda: one.docker("network", "rm", "used", ok=False).returncode == 0, 10)


def test_a_task_that_ends_is_replaced(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(
        one, "web", "--restart-delay", "100ms", "--restart-max-attempts", "2", "busybox", "false"
    )
    wait_for(
        lambda: [t["CurrentState"].split()[0] for t in tasks(one, "web")] == ["Failed"] * 3,
        one,
        "web",
        "three attempts",
    )
    assert all("non-zero exit (1)" in t["Error"] for t in tasks(one, "web"))


def test_logs_of_all_hosts(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(
        one,
        "talk",
        "--replicas",
        "3",
        "busybox",
        "sh",
        "-c",
        "echo I am $(hostname); exec sleep 1000",
    )
    at = wait_running(one, "talk", 3)
    assert wait_until(lambda: one.docker("service", "logs", "talk").stdout.count("I am") == 3, 10)
    said = one.docker("service", "logs", "talk").stdout
    for task, host in at.items():
        assert any(
            line.startswith(f"{task}.") and f"@{host} " in line for line in said.splitlines()
        ), said
    assert one.docker("service", "logs", "--raw", "--tail", "1", "talk").stdout.count("I am") == 3


def test_the_container_is_as_asked(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    create(
        one, "asked", "--hostname", "{{.Service.Name}}-{{.Task.Slot}}", "--env", "NODE={{.Node.Hostname}}",
        "--workdir", "/tmp", "--user", "nobody", "--read-only", "--init", "--limit-memory", "64m",
        "--label", "a=b", "--container-label", "c=d", "--mount", "type=tmpfs,target=/scratch",
        "--constraint", "node.hostname==host3", "busybox", "sh", "-c",
        "hostname; pwd; id -un; echo $NODE; touch /x; grep -c scratch /proc/mounts; exec sleep 1000",
    )  # fmt: skip
    wait_running(one, "asked", 1)
    said = ("service", "logs", "--raw", "asked")
    assert wait_until(lambda: one.docker(*said).stdout.count("\n") >= 5, 10)
    assert one.docker(*said).stdout.split() == ["asked-1", "/tmp", "nobody", "host3", "1"]
    assert "Read-only file system" in one.docker(*said).stderr
    host = swarm3.hosts[2]
    (found,) = host.docker("ps", "-q").stdout.split()
    form = "{{.HostConfig.Memory}} {{.Config.Labels.c}} {{.HostConfig.Init}}"
    assert host.docker("inspect", "--format", form, found).stdout.split() == [
        str(64 << 20),
        "d",
        "true",
    ]


def test_a_port_of_the_host(swarm3: Lab) -> None:
    one, two, three = swarm3.hosts
    create(one, "local", "--mode", "global", "--constraint", "node.role==worker",
           "--publish", "mode=host,published=8077,target=80", "busybox", "sh", "-c", SERVE)  # fmt: skip
    wait_running(one, "local", 2)
    for host in (two, three):
        (found,) = host.docker("ps", "-q").stdout.split()
        assert found.startswith(fetch(swarm3.client, f"http://{host.address}:8077/"))
    # not a mesh: host1 has no task
    assert (
        swarm3.client.run(
            "curl", "-s", "-m", "2", f"http://{one.address}:8077/", ok=False
        ).returncode
        == 7
    )


def test_the_view_of_convergence(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    said = one.docker(
        "service", "create", "--name", "web", "--no-resolve-image", "--replicas", "2",
        "--stop-signal", "KILL", "--update-monitor", "1s", *SLEEP,
    ).stdout  # fmt: skip
    assert "Service" in said
    assert "converged" in said
    said = one.sampan("service", "scale", "web=3").stdout
    assert "converged" in said
    wait_running(one, "web", 3)
