"""The same compose file on the cluster, by docker's command and by ours, which see each other's."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.testing.lab import Lab, swarm
from sampan.testing.lab.services import fetch, inspect, wait_running
from sampan.testing.place import wait_until

PAGE = """\
version: "3.8"
services:
  web:
    image: busybox
    command: ["sh", "-c", "cp /page /w.html; exec httpd -f -p 80 -h /"]
    ports: ["8080:80"]
    configs: [{source: page, target: /page}]
    secrets: [word]
    networks: [front]
    init: true
    deploy: {replicas: 3, update_config: {parallelism: 3}}
  quiet:
    image: busybox
    command: sleep 1000
    stop_signal: KILL
    deploy: {mode: global}
networks:
  front: {}
configs:
  page: {file: ./page.txt}
secrets:
  word: {file: ./word.txt}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "page.txt").write_text("hello from the stack\n")
    (tmp_path / "word.txt").write_text("swordfish")
    (tmp_path / "stack.yaml").write_text(PAGE)
    return tmp_path


@pytest.mark.parametrize("tool", ["docker", "sampan"])
@pytest.mark.only_sampan("the mesh stands on IPVS with Docker")
def test_deploy_to_down(swarm3: Lab, project: Path, tool: str) -> None:
    one = swarm3.hosts[0]
    mine, others = (one.docker, one.sampan) if tool == "docker" else (one.sampan, one.docker)
    file = str(project / "stack.yaml")
    mine("stack", "deploy", "-c", file, "--resolve-image", "never", "shop")
    wait_running(one, "shop_web", 3)
    wait_running(one, "shop_quiet", 3)
    for host in swarm3.hosts:
        assert fetch(swarm3.client, f"http://{host.address}:8080/w.html") == "hello from the stack"
    for look in (mine, others):
        (line,) = look("stack", "ls", "--format", "{{.Name}} {{.Services}}").stdout.splitlines()
        assert line == "shop 2"
        services = look("stack", "services", "--format", "{{.Name}} {{.Replicas}}", "shop").stdout
        assert sorted(services.splitlines()) == ["shop_quiet 3/3", "shop_web 3/3"]
        assert look("stack", "ps", "-q", "shop").stdout.count("\n") == 6

    # the same file again changes nothing
    before = inspect(one, "shop_web")["Version"], inspect(one, "shop_quiet")["Version"]
    tasks = one.docker("stack", "ps", "-q", "shop").stdout
    if tool == "sampan":
        mine("stack", "deploy", "-c", file, "--resolve-image", "never", "shop")
        assert (
            inspect(one, "shop_web")["Version"],
            inspect(one, "shop_quiet")["Version"],
        ) == before
    else:
        mine("stack", "deploy", "-c", file, "--resolve-image", "never", "shop")
    assert one.docker("stack", "ps", "-q", "shop").stdout == tasks

    # a service that is no longer in the file goes with --prune
    less = project / "less.yaml"
    start, end = PAGE.index("  quiet:"), PAGE.index("networks:\n  front")
    less.write_text(PAGE[:start] + PAGE[end:])
    mine(
        "stack",
        "deploy",
        "-c",
        str(less),
        "--prune",
        "--resolve-image",
        "never",
        "shop",
    )
    assert one.docker("service", "ls", "--format", "{{.Name}}").stdout.split() == ["shop_web"]

    others("stack", "rm", "shop")
    assert one.docker("stack", "ls", "--format", "{{.Name}}").stdout == ""
    assert all(swarm.empty(host) for host in swarm3.hosts)
    assert wait_until(lambda: "shop" not in one.docker("network", "ls").stdout)
    assert one.docker("secret", "ls", "-q").stdout == one.docker("config", "ls", "-q").stdout == ""


@pytest.mark.only_sampan("our own command")
def test_a_wrong_type_names_its_place(swarm3: Lab, project: Path) -> None:
    file = project / "wrong.yaml"
    file.write_text("services:\n  web:\n    image: busybox\n    deploy:\n      replicas: many\n")
    done = swarm3.hosts[0].sampan("stack", "deploy", "-c", str(file), "s", ok=False)
    assert done.returncode != 0
    assert "wrong.yaml:5" in done.stderr
    assert "services.web.deploy.replicas" in done.stderr


@pytest.mark.only_sampan("our own command")
def test_what_the_cluster_does_not_honour_is_named(swarm3: Lab, project: Path) -> None:
    file = project / "odd.yaml"
    file.write_text(
        "services:\n  web:\n    image: busybox\n    build: .\n    container_name: x\n    command: sleep 1000\n    stop_signal: KILL\n"
    )
    one = swarm3.hosts[0]
    said = one.sampan(
        "stack", "deploy", "-c", str(file), "--resolve-image", "never", "--detach=true", "odd"
    ).stderr
    assert "build" in said
    assert "container_name" in said
    wait_running(one, "odd_web", 1)
    one.docker("stack", "rm", "odd")


@pytest.mark.only_sampan("Docker says nothing about options that are without effect")
def test_an_option_that_a_network_has_not_is_warned_of(swarm3: Lab, tmp_path: Path) -> None:
    one = swarm3.hosts[0]
    known, unknown = "com.docker.network.driver.mtu", "com.docker.network.bridge.mtu"
    why = f"its driver overlay has no option {unknown}: without effect"
    options = ("-d", "overlay", "--attachable", "-o", f"{known}=1400", "-o", f"{unknown}=1400")
    done = one.sampan("network", "create", *options, "odd")
    assert f"WARNING: network odd: {why}" in done.stderr
    one.docker("network", "rm", "odd")
    done = one.sampan("network", "create", "-d", "overlay", "-o", f"{known}=big", "odd", ok=False)
    assert f"network odd: invalid value big of {known}: a number from 68 to 65535" in done.stderr
    (tmp_path / "stack.yaml").write_text(
        "services:\n  a: {image: busybox, command: sleep 1000, networks: [n], "
        "stop_signal: KILL}\n"
        f"networks:\n  n: {{driver_opts: {{{unknown}: 1400}}}}\n"
    )
    done = one.sampan("stack", "deploy", "-c", str(tmp_path / "stack.yaml"), "odd")
    assert f"WARNING: network odd_n: {why}" in done.stderr
    one.sampan("stack", "rm", "odd")
