"""The story of the article: an nginx that was built on one host only, on three."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sampan.testing.lab import Lab, swarm
from sampan.testing.lab.hammer import Hammer
from sampan.testing.lab.services import (
    EXAMPLES,
    build_nginx,
    fetch,
    update_state,
    wait_for,
    wait_running,
)
from sampan.testing.place import wait_until

pytestmark = [
    pytest.mark.only_sampan("the mesh and images without a registry"),
    pytest.mark.timeout(300),  # making the root file system takes a minute when it is not cached
]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(3) as lab:
        build_nginx(lab.hosts[0], "1", "2")
        assert all(host.docker("images", "-q").stdout == "" for host in lab.hosts[1:])
        swarm.form(lab)
        yield lab
        swarm.leave(lab)
        assert lab.settled() == {}


def test_nginx(lab: Lab) -> None:
    one = lab.hosts[0]
    one.docker(
        "service", "create", "-dq", "--replicas", "3", "-p", "80:80", "--name", "nginx", "nginx:1"
    )
    at = wait_running(one, "nginx", 3, 60)
    assert set(at.values()) == {"host1", "host2", "host3"}
    for host in lab.hosts:
        assert fetch(lab.client, f"http://{host.address}/") == "nginx, version 1"
        # whoever asks, by whichever host: the task sees the visitor's own address
        for visitor in (lab.client, *(other for other in lab.hosts if other is not host)):
            assert fetch(visitor, f"http://{host.address}/who").endswith(f"sees {visitor.address}")
    assert fetch(one, "http://127.0.0.1/") == "nginx, version 1"
    log = ("service", "logs", "--raw", "nginx")
    assert wait_until(
        lambda: f'{lab.client.address} "GET / HTTP/1.1" 200' in one.docker(*log).stdout, 10
    )

    url = f"http://{lab.hosts[1].address}/"
    with Hammer(lab.client, url) as visitors:
        one.docker("service", "scale", "-d", "nginx=2")
        wait_running(one, "nginx", 2)
        one.docker("service", "scale", "-d", "nginx=3")
        wait_running(one, "nginx", 3)
        one.docker(
            "service", "update", "-dq", "--image", "nginx:2", "--update-monitor", "500ms", "nginx"
        )
        wait_for(lambda: update_state(one, "nginx") == "completed", one, "nginx", "updated", 60)
        assert fetch(lab.client, url) == "nginx, version 2"
        one.docker("service", "rollback", "-dq", "nginx")
        wait_for(
            lambda: update_state(one, "nginx") == "rollback_completed", one, "nginx", "back", 60
        )
        assert fetch(lab.client, url) == "nginx, version 1"
    assert visitors.seen.failures == []
    assert set(visitors.seen.answers) == {"nginx, version 1", "nginx, version 2"}
    one.docker("service", "rm", "nginx")
    assert all(swarm.empty(host) for host in lab.hosts)
    refused = ("curl", "-s", "-m", "2", url)
    assert wait_until(lambda: lab.client.run(*refused, ok=False).returncode == 7)


def test_the_articles_compose_file(lab: Lab) -> None:
    one, _, three = lab.hosts
    one.docker("stack", "deploy", "-c", str(EXAMPLES / "compose.yaml"), "web")
    wait_running(one, "web_nginx", 3, 60)
    assert "web" in one.docker("stack", "ls").stdout
    assert fetch(lab.client, f"http://{three.address}/") == "nginx, version 1"
    one.docker("stack", "down", "web")
    assert all(swarm.empty(host) for host in lab.hosts)
