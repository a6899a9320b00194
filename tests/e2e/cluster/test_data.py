"""Secrets and configs: made once, seen by the tasks that were given them and by nobody else."""

from __future__ import annotations

from pathlib import Path

from sampan.testing.lab import Lab, LabHost
from sampan.testing.lab.services import create, inside, wait_running
from sampan.testing.place import wait_until

WORD = "xyzzy-swordfish"


def refused(host: LabHost, *words: str) -> str:
    done = host.docker(*words, ok=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_secrets_and_configs(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    one.docker("secret", "create", "--label", "a=b", "word", "-", stdin=WORD.encode())
    one.docker("config", "create", "page", "-", stdin=b"a page\n")
    assert "word" in one.docker("secret", "ls").stdout
    assert WORD not in one.docker("secret", "inspect", "word").stdout
    assert "a page" in one.docker("config", "inspect", "--pretty", "page").stdout
    assert "secret word already exists" in refused(one, "secret", "create", "word", __file__)
    create(one, "reader", "--secret", "source=word,target=pass,uid=65534,mode=0400", "--secret", "word",
           "--config", "source=page,target=/etc/page,mode=0444", "busybox", "sleep", "1000")  # fmt: skip
    wait_running(one, "reader", 1)
    host, container = inside(swarm3, "reader")

    def inside_run(*words: str) -> str:
        return host.docker("exec", container, *words).stdout

    assert inside_run("cat", "/run/secrets/pass") == WORD == inside_run("cat", "/run/secrets/word")
    assert inside_run("cat", "/etc/page") == "a page\n"
    assert inside_run("stat", "-c", "%a %u %g", "/run/secrets/pass").split() == [
        "400",
        "65534",
        "0",
    ]
    assert (
        inside_run("stat", "-c", "%a %u %g", "/run/secrets/word", "/etc/page").split()
        == ["444", "0", "0"] * 2
    )
    assert "tmpfs" in inside_run("grep", "/run/secrets", "/proc/mounts")
    assert "in use by the following service: reader" in refused(one, "secret", "rm", "word")
    assert "in use by the following service: reader" in refused(one, "config", "rm", "page")
    one.docker("service", "rm", "reader")
    assert wait_until(lambda: one.docker("secret", "rm", "word", ok=False).returncode == 0)
    one.docker("config", "rm", "page")
    assert "nosuch" in refused(one, "secret", "rm", "nosuch")


def test_a_secret_is_nowhere_on_a_disk(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    one.docker("secret", "create", "hidden", "-", stdin=WORD.encode())
    create(one, "reader", "--secret", "hidden", "--replicas", "1", "busybox", "sleep", "1000")
    wait_running(one, "reader", 1)
    for host in swarm3.hosts:
        for path in Path(host.daemon.root).rglob("*"):
            if path.is_file() and not path.is_symlink() and "/merged/" not in str(path):
                assert WORD.encode() not in path.read_bytes(), path
    one.docker("service", "rm", "reader")
    assert wait_until(lambda: one.docker("secret", "rm", "hidden", ok=False).returncode == 0)


def test_a_secret_is_changed_by_another_one(swarm3: Lab) -> None:
    one = swarm3.hosts[0]
    one.docker("secret", "create", "v1", "-", stdin=b"one")
    one.docker("secret", "create", "v2", "-", stdin=b"two")
    create(one, "reader", "--secret", "source=v1,target=v", "busybox", "sleep", "1000")
    wait_running(one, "reader", 1)
    one.docker(
        "service",
        "update",
        "-dq",
        "--secret-rm",
        "v1",
        "--secret-add",
        "source=v2,target=v",
        "reader",
    )

    def word() -> str:
        try:
            host, container = inside(swarm3, "reader")
        except AssertionError:
            return ""
        return host.docker("exec", container, "cat", "/run/secrets/v", ok=False).stdout

    assert wait_until(lambda: word() == "two", 15)
    one.docker("service", "rm", "reader")
    assert wait_until(lambda: one.docker("secret", "rm", "v1", "v2", ok=False).returncode == 0)
