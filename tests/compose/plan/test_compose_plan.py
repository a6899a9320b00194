"""Plans are compared as they are printed: that is what a user of --dry-run reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from textwrap import dedent

import pytest

from sampan.compose.errors import UsageError
from sampan.compose.model.canonical import hashes
from sampan.compose.model.create_request import PREFIX, container_labels, network_body
from sampan.compose.model.project import Project
from sampan.compose.plan.down import (
    plan_down,
    plan_remove,
    plan_restart,
    plan_signal,
    plan_start,
    plan_stop,
)
from sampan.compose.plan.observed import Observed, ObservedContainer
from sampan.compose.plan.steps import Plan
from sampan.compose.plan.up import UpOptions, plan_up

Reader = Callable[..., Project]
FILE = """
services:
  web: {image: w, depends_on: {db: {condition: service_healthy}}}
  db: {image: d, volumes: ["data:/data"]}
volumes: {data: }
"""
IMAGES = {"w": "sha256:w", "d": "sha256:d"}


def running(project: Project, *names: str) -> Observed:
    """What is there after an ``up`` of ``names`` (SERVICE-N)."""
    found = []
    for name in names:
        service, _, number = name.partition("-")
        one = project.services[service]
        digest, parts = hashes(project, one)
        labels = container_labels(project, one, int(number), config_hash=digest, parts=parts)
        found.append(
            ObservedContainer(
                id=f"id-{name}",
                name=f"p-{name}",
                service=service,
                number=int(number),
                image=project.image_of(one),
                image_id=f"sha256:{project.image_of(one)}",
                config_hash=digest,
                parts=parts,
                made_by="us",
                networks={"p_default": "net"},
                depends_on=tuple(d.service for d in one.depends_on),
                labels=labels,
            )
        )
    network = network_body(project, project.networks["default"])
    return Observed(
        containers=tuple(found),
        networks={"p_default": network["Labels"]},
        network_ids={"p_default": "net"},
        volumes={"p_data": {PREFIX + "project": "p"}},
        images=IMAGES,
    )


def expect(plan: Plan, text: str) -> None:
    assert dedent(str(plan)) == dedent(text).strip("\n")


def test_from_nothing(project: Reader) -> None:
    expect(
        plan_up(project(FILE), Observed(images={"w": "sha256:w"}), UpOptions()),
        """
  1  create   network p_default: new
  2  create   volume p_data: new
  3  pull     image d: not here
  4  create   container p-db-1: new <- 1, 2, 3
  5  create   container p-web-1: new <- 1
  6  start    container p-db-1: created <- 4
  7  wait     service db: until healthy <- 6
  8  start    container p-web-1: created <- 5, 7
""",
    )


def test_no_change(project: Reader) -> None:
    p = project(FILE)
    plan = plan_up(p, running(p, "db-1", "web-1"), UpOptions())
    expect(plan, "nothing to do")
    assert plan.unchanged == ["p-db-1", "p-web-1"]
    assert plan.warnings == []


def test_a_change_says_which_keys(project: Reader) -> None:
    before = running(project(FILE), "db-1", "web-1")
    after = project(FILE.replace("image: w,", "image: w, environment: {A: '1'}, user: me,"))
    expect(
        plan_up(after, before, UpOptions()),
        """
  1  recreate container p-web-1: config changed: environment, user
  2  wait     service db: until healthy
  3  start    container p-web-1: created <- 1, 2
""",
    )


def test_new_image_and_other_tools_containers(project: Reader) -> None:
    p = project(FILE)
    there = running(p, "db-1", "web-1")
    foreign = replace(there.containers[0], config_hash="other", parts={}, made_by="1.29.2")
    there = replace(
        there, containers=(foreign, there.containers[1]), images=IMAGES | {"w": "sha256:new"}
    )
    expect(
        plan_up(p, there, UpOptions(start=False)),
        """
  1  recreate container p-db-1: config hash differs (made by compose 1.29.2)
  2  recreate container p-web-1: image changed
""",
    )
    expect(plan_up(p, there, UpOptions(no_recreate=True)), "nothing to do")


def test_scale(project: Reader) -> None:
    p = project("services: {web: {image: w}}")
    there = running(p, "web-1", "web-2")
    expect(
        plan_up(p, there, UpOptions(scale={"web": 3})),
        """
  1  create   container p-web-3: scaled up
  2  start    container p-web-3: created <- 1
""",
    )
    expect(
        plan_up(p, there, UpOptions(scale={"web": 1})),
        """
  1  stop     container p-web-2: scaled down
  2  remove   container p-web-2: scaled down <- 1
""",
    )


def test_stopped_ones_are_started(project: Reader) -> None:
    p = project(FILE)
    there = running(p, "db-1", "web-1")
    stopped = replace(there.containers[0], state="exited")
    there = replace(there, containers=(stopped, there.containers[1]))
    expect(plan_up(p, there, UpOptions()), "  1  start    container p-db-1: it is exited")


def test_a_shared_namespace_follows_its_owner(project: Reader) -> None:
    text = "services: {a: {image: w%s}, b: {image: d, network_mode: 'service:a'}}"
    before = running(project(text % ""), "a-1", "b-1")
    plan = plan_up(project(text % ", tty: true"), before, UpOptions())
    expect(
        plan,
        """
  1  recreate container p-a-1: config changed: tty
  2  recreate container p-b-1: dependency recreated: a <- 1
  3  start    container p-a-1: created <- 1
  4  start    container p-b-1: created <- 2, 3
""",
    )


def test_dependents_that_asked_for_it_restart(project: Reader) -> None:
    text = "services: {a: {image: w%s}, b: {image: d, depends_on: {a: {condition: service_started, restart: true}}}}"  # noqa: E501
    before = running(project(text % ""), "a-1", "b-1")
    plan = plan_up(project(text % ", tty: true"), before, UpOptions())
    assert "restart  container p-b-1: dependency recreated: a <- 2" in str(plan)


def test_orphans(project: Reader) -> None:
    p = project(FILE)
    there = running(p, "db-1", "web-1")
    left = replace(there.containers[0], name="p-old-1", service="old", id="old")
    there = replace(there, containers=(*there.containers, left))
    assert "p-old-1; --remove-orphans" in plan_up(p, there, UpOptions()).warnings[0]
    expect(
        plan_up(p, there, UpOptions(remove_orphans=True)),
        """
  1  stop     container p-old-1: its service is no longer in the file
  2  remove   container p-old-1: its service is no longer in the file <- 1
""",
    )


def test_chosen_services_bring_their_dependencies(project: Reader) -> None:
    p = project(FILE)
    web = str(plan_up(p, Observed(images=IMAGES), UpOptions(services=("web",), start=False)))
    assert "p-db-1" in web
    alone = UpOptions(services=("web",), deps=False, start=False)
    assert "p-db-1" not in str(plan_up(p, Observed(images=IMAGES), alone))
    with pytest.raises(UsageError, match="no such service: nope; there are db, web"):
        plan_up(p, Observed(), UpOptions(services=("nope",)))


def test_missing_externals_say_how_to_make_them(project: Reader) -> None:
    p = project("services: {a: {image: w, networks: [n]}}\nnetworks: {n: {external: true}}")
    with pytest.raises(UsageError, match="network create n"):
        plan_up(p, Observed(images=IMAGES), UpOptions())


def test_one_image_of_two_services_is_built_once(project: Reader) -> None:
    p = project("services: {a: {image: i, build: .}, b: {image: i, build: .}}")
    assert str(plan_up(p, Observed(), UpOptions(start=False))).count("build ") == 1


def test_down_stops_dependents_first(project: Reader) -> None:
    p = project(FILE)
    there = running(p, "db-1", "web-1").containers
    expect(
        plan_down(there, networks=["p_default"], volumes=["p_data"]),
        """
  1  stop     container p-web-1: down
  2  stop     container p-db-1: down <- 1
  3  remove   container p-db-1: down <- 2
  4  remove   container p-web-1: down <- 1
  5  remove   network p_default: down <- 3, 4
  6  remove   volume p_data: volumes asked for <- 3, 4
""",
    )


def test_the_small_verbs(project: Reader) -> None:
    p = project(FILE)
    there = running(p, "db-1", "web-1").containers
    stopped = [replace(c, state="exited") for c in there]
    assert len(plan_stop(there).steps) == 2
    assert plan_stop(stopped).steps == []
    assert [s.target for s in plan_start(p, stopped).steps] == [
        "container p-db-1",
        "container p-web-1",
    ]
    assert plan_remove(there).steps == []
    assert len(plan_remove(there, stop=True).steps) == 4
    assert len(plan_signal(there, "pause").steps) == 2
    assert plan_signal(there, "unpause").steps == []


def test_an_interrupted_recreation_is_tidied_up(project: Reader) -> None:
    p = project("services: {web: {image: w}}")
    there = running(p, "web-1")
    old = there.containers[0]
    new = replace(old, id="new", name="0123456789ab_p-web-1", state="created")
    both = replace(there, containers=(new, old))
    expect(
        plan_up(p, both, UpOptions()),
        "1  remove   container 0123456789ab_p-web-1: left by an interrupted recreation",
    )
    alone = replace(there, containers=(replace(new, state="exited"),))
    assert "recreate container p-web-1: left by an interrupted" in str(
        plan_up(p, alone, UpOptions())
    )


def there(service: str, *restarts_with: str) -> ObservedContainer:
    return ObservedContainer(
        id=service, name=f"p-{service}-1", service=service, number=1, restarts_with=restarts_with
    )


def test_a_restart_takes_along_who_asked_for_it() -> None:
    containers = [there("web", "api"), there("api", "db"), there("db"), there("other")]
    expect(
        plan_restart(containers, ("db",)),
        """
  1  restart  container p-db-1: asked for
  2  restart  container p-api-1: its dependency db restarts <- 1
  3  restart  container p-web-1: its dependency api restarts <- 2
""",
    )
    expect(
        plan_restart(containers, ("db",), deps=False), "  1  restart  container p-db-1: asked for"
    )
    assert len(plan_restart(containers, ()).steps) == 4
