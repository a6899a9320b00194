"""The cluster's cases of ``script/bench``: three hosts with sampan and three with Docker.

Both laboratories are up at the same time and asked in turns, by the API. Docker's virtual
addresses stand on IPVS, which not every kernel has, so both sides use names that resolve to the
tasks' own addresses, but for the cases about virtual addresses, which are sampan's alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench_side import WITHIN_S, Missed, Side, since, spec, until

from sampan.testing.lab import Lab, LabHost, swarm
from sampan.testing.lab.engine import Api, Refused
from sampan.testing.lab.services import build_nginx
from sampan.testing.schedules import measure as schedule
from sampan.testing.schedules import measure_loops

PORT = 5201


# -- tasks


def twenty(side: Side) -> float:
    begin = time.perf_counter()
    side.create("bench", replicas=20)
    side.until_running("bench", 20)
    took = since(begin)
    side.remove("bench")
    return took


def twenty_more(side: Side) -> float:
    side.create("bench", replicas=20)
    side.until_running("bench", 20)
    begin = time.perf_counter()
    side.scale("bench", 40)
    side.until_running("bench", 40)
    took = since(begin)
    side.remove("bench")
    return took


def hundred_removed(side: Side) -> float:
    side.create("bench", replicas=100)
    side.until_running("bench", 100)
    begin = time.perf_counter()
    side.remove("bench")
    return since(begin)


def rolling(side: Side) -> float:
    side.create("bench", replicas=40, parallelism=4)
    side.until_running("bench", 40)
    begin = time.perf_counter()
    side.change("bench", lambda s: s["TaskTemplate"]["ContainerSpec"].update(Env=["VERSION=2"]))

    def renewed() -> bool:
        tasks = side.running("bench")
        new = [t for t in tasks if t["Spec"]["ContainerSpec"].get("Env") == ["VERSION=2"]]
        return len(new) == 40

    until("40 renewed", renewed)
    took = since(begin)
    side.remove("bench")
    return took


STACK = 'version: "3.8"\nservices:\n' + "".join(
    f"  s{n}:\n    image: busybox\n    command: sleep 3600\n    stop_signal: SIGKILL\n"
    "    deploy: {endpoint_mode: dnsrr}\n"
    for n in range(10)
)


def stack(side: Side) -> float:
    file = side.scratch / "stack.yaml"
    file.write_text(STACK)
    deploy = ("stack", "deploy", "-c", str(file), "--resolve-image", "never", "bench")
    begin = time.perf_counter()
    # the project's own command, as people would type it; Docker's is a Go program
    (side.first.sampan if side.name == "sampan" else side.first.docker)(*deploy)

    def ten() -> bool:
        wanted = {"label": ["com.docker.stack.namespace=bench"], "desired-state": ["running"]}
        tasks = side.manager.call("GET", "/tasks", filters=wanted)
        return [t["Status"]["State"] for t in tasks].count("running") == 10

    until("ten services run", ten)
    took = since(begin)
    side.first.docker("stack", "rm", "bench")
    for n in range(10):
        until("stack gone", partial(side.gone, f"bench_s{n}"))
    until("network gone", lambda: "bench_" not in side.first.docker("network", "ls").stdout)
    return took


def name_resolves(side: Side) -> float:
    """From the request to create it until its name resolves on another host."""
    two = side.lab.hosts[1]
    side.network("bench")
    side.create("asker", on="host2", networks=("bench",))
    side.until_running("asker", 1)
    asker = side.container("asker", two)["Id"]
    ask = "until nslookup -type=a fresh >/dev/null 2>&1; do sleep 0.02; done"
    done = threading.Event()

    def wait() -> None:
        two.docker("exec", asker, "sh", "-c", ask, ok=False, timeout=WITHIN_S)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(1.0)  # it asks by now
    begin = time.perf_counter()
    side.create("fresh", on="host3", networks=("bench",))
    arrived = done.wait(WITHIN_S)
    took = since(begin)
    thread.join()
    side.remove("asker", "fresh")
    side.remove_network("bench")
    if not arrived:
        raise Missed("the name does not resolve")
    return took


# -- lost power


def heal(side: Side) -> None:
    for host in side.lab.hosts:
        if not host.machine.alive:
            host.revive()
    until("all ready", lambda: _ready(side) == 3)


def _ready(side: Side) -> int:
    nodes = side.manager.call("GET", "/nodes")
    return sum(node["Status"]["State"] == "ready" for node in nodes)


def worker_lost(side: Side) -> float:
    side.create("bench", replicas=6)
    side.until_running("bench", 6)
    lost = side.lab.hosts[2]
    nodes = side.manager.call("GET", "/nodes")
    (gone,) = [n["ID"] for n in nodes if n["Description"]["Hostname"] == lost.name]
    begin = time.perf_counter()
    lost.kill()

    def elsewhere() -> bool:
        return len([t for t in side.running("bench") if t["NodeID"] != gone]) == 6

    until("six run elsewhere", elsewhere)
    took = since(begin)
    heal(side)
    side.remove("bench")
    return took


def leader_lost(side: Side, *, runs: bool = False) -> float:
    """Until a service is acknowledged; with ``runs``, until it runs."""
    side.promote()
    nodes = side.manager.call("GET", "/nodes")
    (name,) = [
        n["Description"]["Hostname"] for n in nodes if (n.get("ManagerStatus") or {}).get("Leader")
    ]
    (lost,) = [h for h in side.lab.hosts if h.name == name]
    others = [h for h in side.lab.hosts if h is not lost]
    asked = Api(others[0].daemon.socket, timeout_s=30)
    begin = time.perf_counter()
    lost.kill()

    def acknowledged() -> bool:
        try:
            asked.call("POST", "/services/create", spec("bench"))
        except Refused as refused:
            return refused.status == 409  # the answer to an earlier one was lost
        return True

    until("acknowledged", acknowledged)
    if runs:
        until("it runs", lambda: side.running("bench", asked))
    took = since(begin)
    heal(side)
    side.remove("bench")
    return took


# -- packets


def entered(host: LabHost, pid: int, *command: str) -> list[str]:
    """``command`` in a container's network, with this machine's own programs."""
    return host.place.command("nsenter", f"--target={pid}", "--net", *command)


def pair(side: Side) -> tuple[int, int, str]:
    """A client on host1 and an nginx on host2 in one overlay network, for all the cases that want
    them: the pids of both, and the server's address."""
    one, two = side.lab.hosts[:2]
    if "pair" not in side.ready:
        if "nginx" not in side.ready:
            build_nginx(two, "bench")
            side.ready.add("nginx")
        side.network("wire")
        side.create("from", on="host1", networks=("wire",))
        mesh = ({"TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"},)
        own = ({"TargetPort": 80, "PublishedPort": 8081, "PublishMode": "host"},)
        vip = side.name == "sampan"
        side.create(
            "to", on="host2", networks=("wire",), image="nginx:bench", args=(), vip=vip,
            ports=(*(mesh if vip else ()), *own),
        )  # fmt: skip
        side.until_running("from", 1)
        side.until_running("to", 1)
        side.ready.add("pair")
    client, server = side.container("from", one), side.container("to", two)
    address = server["NetworkSettings"]["Networks"]["wire"]["IPAddress"]
    return client["State"]["Pid"], server["State"]["Pid"], address


def part(side: Side) -> None:
    if "pair" in side.ready:
        side.remove("from", "to")
        side.remove_network("wire")
        side.ready.discard("pair")


def throughput(side: Side) -> float:
    client, server, address = pair(side)
    one, two = side.lab.hosts[:2]
    serve = entered(two, server, "iperf3", "-s", "-1", "-p", str(PORT))
    with subprocess.Popen(serve, stdout=subprocess.DEVNULL) as listener:
        ask = entered(one, client, "iperf3", "-J", "-t", "3", "-c", address, "-p", str(PORT))
        found: dict[str, Any] = {}

        def asked() -> bool:
            done = subprocess.run(ask, capture_output=True, check=False)
            found.update(json.loads(done.stdout or "{}"))
            return "sum_received" in found.get("end", {})

        try:
            until("iperf3", asked, 20)
        except Missed as missed:
            raise Missed(f"{missed}: {found.get('error')}") from None
        finally:
            listener.kill()
    return float(found["end"]["sum_received"]["bits_per_second"]) / 1e9


def wrk(command: list[str]) -> float:
    """Thousands of requests a second."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    errors = re.search(r"Socket errors:.*|Non-2xx.*", done.stdout)
    if rate is None or float(rate[1]) == 0 or errors:
        said = errors[0] if errors else done.stdout + done.stderr
        raise Missed(f"wrk: {said}")
    return float(rate[1]) / 1e3


WRK = ("wrk", "-t", "1", "-c", "32", "-d", "2s")
CLOSE = ("-H", "Connection: close")


def overlay_requests(side: Side, *how: str) -> float:
    client, _, address = pair(side)
    return wrk(entered(side.first, client, *WRK, *how, f"http://{address}/"))


def virtual_requests(side: Side, *how: str) -> float:
    """Through the virtual address, as a ratio of straight to the task."""
    client, _, address = pair(side)
    services = side.manager.call("GET", "/services/to")["Endpoint"]["VirtualIPs"]
    wire = side.manager.call("GET", "/networks/wire")["Id"]
    (virtual,) = [v["Addr"].split("/")[0] for v in services if v["NetworkID"] == wire]

    def by(target: str) -> float:
        return wrk(entered(side.first, client, *WRK, *how, f"http://{target}/"))

    return ratio(lambda: by(virtual), lambda: by(address))


def mesh_requests(side: Side, entry: int, *how: str) -> float:
    """From the LAN by the mesh of a host, as a ratio of a port of the task's own host."""
    pair(side)
    own, by = side.lab.hosts[1], side.lab.hosts[entry]
    client = side.lab.client

    def ask(url: str) -> float:
        return wrk(client.place.command(*WRK, *how, url))

    mesh, straight = f"http://{by.address}:8080/", f"http://{own.address}:8081/"
    return ratio(lambda: ask(mesh), lambda: ask(straight))


def ratio(one: Callable[[], float], other: Callable[[], float]) -> float:
    """Of two figures, each taken twice around the other: a machine's moods fall on both."""
    first, second, third, fourth = other(), one(), one(), other()
    return (second + third) / (first + fourth)


# -- memory, thinking


def resident(pid: int) -> int:
    """Proportional set size of a process and all beneath it, kB, but for containers' monitors."""
    total = 0
    with contextlib.suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text().strip() in ("conmon", "containerd-shim"):
            return 0
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += resident(int(child))
    return total


def memory(side: Side, host: int) -> float:
    return resident(side.lab.hosts[host].daemon.pid) / 1024


def scheduling(_: Side) -> float:
    return min(schedule(tasks=1000, nodes=100).seconds for _ in range(3)) * 1e3


def one_change(_: Side) -> float:
    rows = asyncio.run(measure_loops())
    return max(row.cost.seconds for row in rows if row.case.endswith(", one changed task")) * 1e3


@dataclass(frozen=True)
class Case:
    key: str
    title: str
    target: float
    """The ratio to stay under, or above where more is better; of a case that only sampan has, the
    figure itself."""
    sample: Callable[[Side], float]
    unit: str = "s"
    rounds: int = 3
    more_is_better: bool = False
    only_sampan: bool = False

    def met(self, figure: float) -> bool:
        return figure >= self.target if self.more_is_better else figure <= self.target


def _kept(key: str, title: str, sample: Callable[[Side], float]) -> Case:
    return Case(key, title, 0.9, sample, "x", more_is_better=True, only_sampan=True)


CASES = [
    Case("memory-manager", "memory of a manager at rest", 1.5, lambda s: memory(s, 0), "MB", 1),
    Case("memory-worker", "memory of a worker at rest", 1.5, lambda s: memory(s, 1), "MB", 1),
    Case("run", "20 replicas run", 0.5, twenty),
    Case("more", "20 more run", 0.5, twenty_more),
    Case("remove", "100 are removed", 0.5, hundred_removed, rounds=2),
    Case("update", "rolling update of 40, parallelism 4", 0.5, rolling, rounds=2),
    Case("stack", "stack of 10 services runs", 0.5, stack),
    Case("name", "a new service's name resolves on another host", 0.5, name_resolves),
    Case("overlay", "overlay between hosts", 1.0, throughput, "Gbit/s", more_is_better=True),
    Case(
        "requests", "the same, requests a second, kept alive", 1.0, overlay_requests, "k/s",
        more_is_better=True,
    ),
    Case(
        "connections", "the same, new connections a second", 1.0,
        lambda s: overlay_requests(s, *CLOSE), "k/s", more_is_better=True,
    ),
    _kept("vip", "requests through a virtual address, of straight", virtual_requests),
    _kept("vip-new", "new connections, the same", lambda s: virtual_requests(s, *CLOSE)),
    _kept("mesh", "requests by its own host's mesh, of straight", lambda s: mesh_requests(s, 1)),
    _kept("mesh-new", "new connections, the same", lambda s: mesh_requests(s, 1, *CLOSE)),
    _kept("mesh-far", "requests by another's mesh, of straight", lambda s: mesh_requests(s, 0)),
    _kept("mesh-far-new", "new connections, the same", lambda s: mesh_requests(s, 0, *CLOSE)),
    Case(
        "schedule", "1,000 tasks on 100 nodes in one pass", 200, scheduling, "ms", 1,
        only_sampan=True,
    ),
    Case(
        "change", "one changed task of 300,000 on 10,000 nodes, the slowest loop", 20, one_change,
        "ms", 1, only_sampan=True,
    ),
    Case("worker", "worker loses power until its tasks run elsewhere", 0.3, worker_lost, rounds=2),
    Case("leader", "the leader, until a service is acknowledged", 0.3, leader_lost, rounds=2),
    Case(
        "leader-runs", "the same, until that service runs", 0.3,
        lambda s: leader_lost(s, runs=True), rounds=2,
    ),
]  # fmt: skip


@contextlib.contextmanager
def sides() -> Iterator[list[Side]]:
    """sampan's three hosts and, where there is a dockerd, Docker's."""
    with contextlib.ExitStack() as undo:
        found = []
        for kind in ("sampan", *(("docker",) if shutil.which("dockerd") else ())):
            lab = undo.enter_context(Lab(kinds=(kind,) * 3))
            lab.load_busybox()
            swarm.form(lab)
            scratch = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="smpb")))
            found.append(Side(kind, lab, scratch=scratch))
        yield found


def measure(case: Case, both: list[Side], rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {}
    for _ in range(rounds):
        for side in both:
            if side.name == "docker" and case.only_sampan:
                continue
            time.sleep(0.5)  # what the other side still tidies up is not paid for by this one
            try:
                samples.setdefault(side.name, []).append(case.sample(side))
            except (Missed, Refused, OSError, AssertionError, ValueError) as error:
                print(f"  {case.key} on {side.name}: {error}", flush=True)
    return samples


def run(only: list[str], rounds: int | None) -> int:
    """Print the table. Returns the exit status."""
    chosen = [case for case in CASES if not only or case.key in only]
    with sides() as both:
        print(f"{'case':56} {'docker':>13} {'sampan':>13} {'ratio':>7} {'target':>7}")
        for case in chosen:
            samples = measure(case, both, rounds or case.rounds)
            print(row(case, samples), flush=True)
            if "pair" in both[0].ready and case.key == _last_of_the_pair(chosen):
                for side in both:
                    part(side)
    return 0


def _last_of_the_pair(chosen: list[Case]) -> str:
    wires = ("overlay", "requests", "connections", "vip", "mesh")
    return [case.key for case in chosen if case.key.startswith(wires)][-1]


def row(case: Case, samples: dict[str, list[float]]) -> str:
    def cell(name: str) -> str:
        return f"{statistics.median(samples[name]):7.2f} {case.unit}" if samples.get(name) else "-"

    ratio, verdict = "-", ""
    if samples.get("sampan"):
        figure = statistics.median(samples["sampan"])
        if samples.get("docker"):
            figure /= statistics.median(samples["docker"])
            ratio = f"{figure:.2f}"
        if case.only_sampan or samples.get("docker"):
            verdict = "" if case.met(figure) else "  missed"
    else:
        verdict = "  failed"
    return (
        f"{case.title:56} {cell('docker'):>13} {cell('sampan'):>13} {ratio:>7} "
        f"{case.target:>7g}{verdict}"
    )


def keys() -> list[str]:
    return [case.key for case in CASES]
