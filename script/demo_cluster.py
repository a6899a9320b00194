"""``script/demo cluster``: three hosts become one, step by step, and each step is checked.

The hosts are the laboratory's; everything that is typed is the stock docker command. A step that
is not as it should be ends the demo with exit status 1. Nothing is left behind.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.lab.hammer import Hammer
from sampan.testing.lab.services import (
    EXAMPLES,
    build_nginx,
    complaints,
    containers,
    fetch,
    inside,
    update_state,
)
from sampan.testing.place import wait_until

WITHIN_S = 30.0
ENDS_WITHIN_S = 60.0
"""What is typed, at most: a command may wait for ever for a service that cannot run."""


class Wrong(Exception):
    """A step is not as it should be."""


class Demo:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.one, self.two, self.three = lab.hosts

    def say(self, text: str) -> None:
        print(f"\n== {text}", flush=True)

    def type(self, host: LabHost, line: str, quiet: bool = False) -> str:
        """Run ``docker ...`` on a host and show both the command and what it says."""
        words = line.split()
        print(f"{host.name} $ {line}", flush=True)
        try:
            done = host.docker(*words[1:], ok=False, timeout=ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise Wrong(f"`{line}` has not ended within {ENDS_WITHIN_S:.0f} s") from None
        shown = re.sub(r"(?m)^(overall progress|verify: Waiting|\d+/\d+:).*\n", "", done.stdout)
        if not quiet and shown.strip():
            print(shown.rstrip())
        if done.returncode != 0:
            raise Wrong(done.stderr.strip() or f"exit status {done.returncode}")
        return done.stdout

    def curl(self, visitor: LabHost, url: str, expected: str) -> None:
        """Fetch a page, show it, and compare."""
        print(f"{visitor.name} $ curl {url}")
        got = fetch(visitor, url, WITHIN_S)
        print(got)
        if not re.search(expected, got):
            raise Wrong(f"expected {expected!r}")

    def until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait for what must come."""
        begin = time.monotonic()
        if not wait_until(condition, WITHIN_S):
            raise Wrong(f"{what}: not within {WITHIN_S:.0f} s")
        print(f"   ({what}, after {time.monotonic() - begin:.1f} s)")

    def runs(self, service: str, count: int) -> None:
        self.until(
            f"{count} of {count} run",
            lambda: (
                len(swarm.running(self.one, service))
                == count
                == sum(len(c) for c in containers(self.lab, service).values())
            ),
        )

    def equip(self) -> None:
        """What is said to be missing here, a user would run into later."""
        shown = "{{range .Warnings}}{{println .}}{{end}}"
        warnings = self.one.docker("info", "--format", shown).stdout.splitlines()
        if lacks := [line for line in warnings if "; install " in line]:
            raise Wrong("\n".join(("script/setup has not brought everything", *lacks)))
        build_nginx(self.one, "1", "2")

    def form(self) -> None:
        self.say("Three hosts become one")
        said = self.type(self.one, "docker swarm init")
        join = re.search(r"^ +(docker swarm join --token \S+ \S+)$", said, re.M)
        if join is None:
            raise Wrong("no command to join with")
        for host in (self.two, self.three):
            self.type(host, join[1])
        self.until("all ready", lambda: self.one.docker("node", "ls").stdout.count("Ready") == 3)
        self.type(self.one, "docker node ls")

    def article(self) -> None:
        self.say("nginx, built on host1 only, answers on every host")
        for host in self.lab.hosts:
            self.type(host, "docker images nginx")
        self.type(self.one, "docker service create --replicas 3 -p 80:80 --name nginx nginx:1")
        self.runs("nginx", 3)
        self.type(self.one, "docker service ps nginx")
        client = self.lab.client
        for host in self.lab.hosts:
            self.curl(client, f"http://{host.address}/", "^nginx, version 1$")
        self.say("The log shows the client's own address, whichever host it came to")
        self.curl(client, f"http://{self.two.address}/who", f"sees {re.escape(client.address)}$")
        seen = f"{client.address} "
        logs = ("service", "logs", "--raw", "nginx")
        self.until("logged", lambda: self.one.docker(*logs).stdout.count(seen) >= 4)
        self.type(self.one, "docker service logs --tail 4 nginx")

        self.say("Scale and update while somebody never stops asking")
        with Hammer(client, f"http://{self.three.address}/") as visitors:
            for count in (2, 3):
                self.type(self.one, f"docker service scale --detach nginx={count}")
                self.runs("nginx", count)
            update = "docker service update --detach --update-monitor 500ms --image nginx:2 nginx"
            self.type(self.one, update)
            self.until("updated", lambda: update_state(self.one, "nginx") == "completed")
            self.curl(client, f"http://{self.one.address}/", "^nginx, version 2$")
            self.type(self.one, "docker service rollback --detach nginx")
            rolled = "rollback_completed"
            self.until("rolled back", lambda: update_state(self.one, "nginx") == rolled)
            self.curl(client, f"http://{self.one.address}/", "^nginx, version 1$")
        self._judge(visitors, "nginx, version [12]")
        self.type(self.one, "docker service rm nginx")
        self._empty()

    def stack(self) -> None:
        self.say("The same compose file as on a laptop")
        file = str(EXAMPLES / "compose.yaml")
        self.type(self.one, f"docker stack deploy -c {file} web")
        self.runs("web_nginx", 3)
        self.type(self.one, "docker stack ls")
        self.type(self.one, "docker stack services web")
        self.curl(self.lab.client, f"http://{self.two.address}/", "^nginx, version 1$")
        self.type(self.one, "docker stack down web")
        self._empty()

    def dbcluster(self) -> None:
        self.say("A front finds its database by one name, however many there are")
        file = str(EXAMPLES / "front.yaml")
        never = "--resolve-image never"
        self.type(self.one, f"docker stack deploy {never} -c {file} app")
        self.runs("app_front", 1)
        self.runs("app_dbcluster", 1)
        url = f"http://{self.two.address}:8080/cgi-bin/ask"
        self.curl(self.lab.client, url, "^answered by db1$")
        host, front = inside(self.lab, "app_front")

        def addresses(name: str) -> list[str]:
            found = host.docker("exec", front, "nslookup", "-type=a", name, ok=False).stdout
            return re.findall(r"Address: (\S+)$", found, re.M)

        def counted(count: int) -> bool:
            return len(addresses("tasks.dbcluster")) == count

        virtual = addresses("dbcluster")
        print(f"dbcluster is {', '.join(virtual)}")
        if len(virtual) != 1:
            raise Wrong("a service has one virtual address")
        with Hammer(self.lab.client, url) as visitors:
            for count in (3, 1):
                self.type(self.one, f"docker service scale --detach app_dbcluster={count}")
                self.runs("app_dbcluster", count)
                self.until(
                    f"tasks.dbcluster has {count} addresses",
                    partial(counted, count),
                )
                print(f"tasks.dbcluster is {', '.join(addresses('tasks.dbcluster'))}")
                if addresses("dbcluster") != virtual:
                    raise Wrong("the virtual address has changed")
        self._judge(visitors, "answered by db[123]")
        self.type(self.one, "docker stack rm app")
        self._empty()

    def part(self) -> None:
        self.say("They part")
        for host in (self.three, self.two):
            self.type(host, "docker swarm leave")
        self.type(self.one, "docker swarm leave --force")
        if left := self.lab.settled():
            raise Wrong(f"left over: {left}")
        print("nothing is left over on any host: no container, interface, rule or mount")

    def _judge(self, visitors: Hammer, expected: str) -> None:
        seen = visitors.seen
        print(f"the visitor: {seen.count} requests, {len(seen.failures)} failed")
        for page, count in sorted(seen.answers.items()):
            print(f"   {count:6} x {page}")
        if seen.failures:
            raise Wrong(f"failed requests: {seen.failures[:5]}")
        if wrong := [page for page in seen.answers if not re.fullmatch(expected, page)]:
            raise Wrong(f"wrong answers: {wrong}")

    def _empty(self) -> None:
        self.until("no container is left", lambda: all(map(swarm.empty, self.lab.hosts)))


def main() -> int:
    print("== Setting up: three hosts out of namespaces, and an nginx image on the first of them")
    with Lab(3) as lab:
        lab.load_busybox()
        demo = Demo(lab)
        try:
            demo.equip()
            begin = time.monotonic()
            for step in (demo.form, demo.article, demo.stack, demo.dbcluster, demo.part):
                step()
        except (Wrong, AssertionError) as error:
            print(f"\ndemo: this is not as it should be: {error}", file=sys.stderr)
            for complaint in complaints(lab.hosts[0]):
                print(f"   {complaint}", file=sys.stderr)
            return 1
        print(f"\nAll as it should be, in {time.monotonic() - begin:.0f} s.", end=" ")
        print("Play with it yourself: script/lab up 3")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
