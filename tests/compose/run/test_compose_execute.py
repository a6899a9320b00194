from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sampan.compose.model.create_request import PREFIX
from sampan.compose.model.project import Project
from sampan.compose.plan.down import plan_down
from sampan.compose.plan.up import UpOptions, plan_up
from sampan.compose.run.execute import Executor, StepOutcome
from sampan.compose.run.observe import list_project, observe
from sampan.compose.run.progress import Progress
from sampan.compose.run.watch import patience_s
from sampan.testing.engine_api import FakeApi

Reader = Callable[..., Project]
FILE = """
services:
  web: {image: i, depends_on: {db: {condition: service_healthy}}}
  db: {image: i, volumes: [/anonymous, "data:/d"], environment: {A: "1"}}
  other: {image: i}
volumes: {data: }
"""


def up(api: FakeApi, project: Project, **options: Any) -> tuple[StepOutcome, str]:
    out = io.StringIO()
    observed = observe(api, project, tuple(project.services))
    plan = plan_up(project, observed, UpOptions(**options))
    return Executor(api, project, Progress(out)).run(plan), out.getvalue()


def healthy_soon(api: FakeApi, health: str = "healthy") -> None:
    """Containers of ``db`` say their health from another thread, as an engine would."""

    def on_start(container: dict[str, Any]) -> None:
        if container["Config"]["Labels"][PREFIX + "service"] == "db":
            container["State"]["Health"] = {"Status": "starting"}
            threading.Thread(target=api.become, args=(container, health)).start()

    api.on_start = on_start


def states(api: FakeApi) -> dict[str, str]:
    return {c["Name"]: c["State"]["Status"] for c in api.containers.values()}


def test_up_then_nothing_then_down(project: Reader) -> None:
    api, p = FakeApi("i"), project(FILE)
    healthy_soon(api)
    outcome, _ = up(api, p)
    assert outcome.ok
    assert states(api) == {"p-web-1": "running", "p-db-1": "running", "p-other-1": "running"}
    starts = [c for c in api.calls if c.endswith("/start")]
    assert starts.index("POST /containers/p-db-1/start") < starts.index(
        "POST /containers/p-web-1/start"
    )
    api.calls.clear()
    assert up(api, p)[0].ok
    assert api.calls == []
    plan = plan_down(list_project(api, "p"), networks=["p_default"], volumes=["p_data"])
    assert Executor(api, p, Progress(io.StringIO())).run(plan).ok
    assert (api.containers, api.networks, api.volumes) == ({}, {}, {})


def test_a_failure_fails_dependents_and_nobody_else(project: Reader) -> None:
    api, p = FakeApi("i"), project(FILE)
    api.fail_on = lambda call: "disk full" if call == "POST /containers/create p-db-1" else None
    outcome, printed = up(api, p)
    assert [step.target for step, _ in outcome.failed] == ["container p-db-1"]
    assert {step.target for step in outcome.skipped} == {
        "container p-db-1",
        "service db",
        "container p-web-1",
    }
    assert states(api) == {"p-web-1": "created", "p-other-1": "running"}
    assert "Error: disk full" in printed
    assert "Container p-web-1  Not started" in printed


def test_unhealthy_is_an_error_with_the_last_output(project: Reader) -> None:
    api, p = FakeApi("i"), project(FILE)
    healthy_soon(api, "unhealthy")
    outcome, printed = up(api, p)
    assert 'service "db" is unhealthy: last output: I am unhealthy' in printed
    assert [step.target for step, _ in outcome.failed] == ["service db"]
    assert states(api)["p-web-1"] == "created"


def test_completion_with_a_bad_code_is_an_error(project: Reader) -> None:
    text = """
    services:
      job: {image: i}
      web: {image: i, depends_on: {job: {condition: service_completed_successfully}}}
    """
    api, p = FakeApi("i"), project(text)

    def on_start(container: dict[str, Any]) -> None:
        container["State"] = {"Status": "exited", "ExitCode": 3}

    api.on_start = on_start
    outcome, printed = up(api, p)
    assert not outcome.ok
    assert "did not complete successfully: exit code 3" in printed


def test_recreation_keeps_anonymous_volumes(project: Reader) -> None:
    api, p = FakeApi("i"), project(FILE)
    healthy_soon(api)
    up(api, p)
    old = api.named("p-db-1")
    volume = next(m["Name"] for m in old["Mounts"] if m["Destination"] == "/anonymous")
    assert up(api, project(FILE.replace('A: "1"', 'A: "2"')))[0].ok
    new = api.named("p-db-1")
    assert new["Id"] != old["Id"]
    assert f"{volume}:/anonymous:rw" in new["Config"]["HostConfig"]["Binds"]
    assert len(api.containers) == 3


@pytest.mark.parametrize("broken", ["POST /containers/create", "stop", "rename"])
def test_a_recreation_that_fails_leaves_the_old_one_running(project: Reader, broken: str) -> None:
    api, p = FakeApi("i"), project(FILE)
    healthy_soon(api)
    up(api, p)
    old = api.named("p-other-1")["Id"]
    # The last rename is the one of the new container to its final name.
    last = {"rename": "rename p-other-1"}.get(broken, broken)
    failures = iter(["no"])
    api.fail_on = lambda call: next(failures, None) if last in call else None
    changed = project(FILE.replace("other: {image: i}", "other: {image: i, tty: true}"))
    outcome, _ = up(api, changed)
    assert not outcome.ok
    assert api.named("p-other-1")["Id"] == old
    assert states(api) == {"p-web-1": "running", "p-db-1": "running", "p-other-1": "running"}


def test_labels_are_those_of_docker_compose(project: Reader) -> None:
    api, p = FakeApi("i"), project(FILE)
    healthy_soon(api)
    up(api, p)
    labels = api.named("p-web-1")["Config"]["Labels"]
    assert labels[PREFIX + "project"] == "p"
    assert labels[PREFIX + "service"] == "web"
    assert labels[PREFIX + "container-number"] == "1"
    assert labels[PREFIX + "oneoff"] == "False"
    assert labels[PREFIX + "depends_on"] == "db:service_healthy:false"
    assert labels[PREFIX + "image"] == api.images["i"]
    assert len(labels[PREFIX + "config-hash"]) == 64


def test_patience_follows_the_health_check() -> None:
    second = 10**9
    check = {"Interval": second, "Timeout": second, "Retries": 4, "StartPeriod": 5 * second}
    assert patience_s(check) == 5 + 5 * 2 + 10
    assert patience_s({}) == 4 * 60 + 10
