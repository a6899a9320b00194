"""Times the same commands against sampan and against a throw-away dockerd, in turns.

Machines are noisy, so nothing is timed alone: a round runs the case once on each side, and the
figure to look at is the ratio of the medians. The client is the stock docker command on both
sides unless a case says otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from sampan.client.bootstrap import busybox_tar
from sampan.testing.daemon import DaemonProcess
from sampan.testing.dockerd import DockerDaemon

SETTLE_S = 0.25


@dataclass
class Side:
    """One daemon under test."""

    name: str
    host: str
    pid: int
    scratch: Path
    python: str = ""
    """Of the environment that the daemon was started from; empty: it is Docker's."""
    env: dict[str, str] = field(default_factory=dict)

    def run(self, *command: str, stdin: bytes | None = None) -> str:
        done = subprocess.run(
            command, input=stdin or b"", capture_output=True, env=self.env, check=False
        )
        if done.returncode != 0:
            raise SystemExit(
                f"bench: on {self.name}: {' '.join(command)}\n"
                f"{done.stdout.decode()}{done.stderr.decode()}"
            )
        return done.stdout.decode()

    def own(self, *words: str) -> list[str]:
        """A command line of the side's own command."""
        program = str(Path(self.python).with_name("sampan")) if self.python else "docker"
        return [program, *words]

    def docker(self, *arguments: str, stdin: bytes | None = None) -> str:
        return self.run("docker", *arguments, stdin=stdin)


Sample = Callable[[Side], float]
"""Runs a case once; returns its figure in the case's unit."""


@dataclass(frozen=True)
class Case:
    key: str
    title: str
    target: float
    """The ratio to stay under."""
    sample: Sample
    unit: str = "ms"
    rounds: int = 15
    prepare: Callable[[Side], None] | None = None
    finish: Callable[[Side], None] | None = None
    higher_is_better: bool = False


def timed(what: Callable[[], object]) -> float:
    begin = time.perf_counter()
    what()
    return (time.perf_counter() - begin) * 1e3


def run_bridge(side: Side) -> float:
    return timed(lambda: side.docker("run", "--rm", "busybox", "true"))


def run_none(side: Side) -> float:
    return timed(lambda: side.docker("run", "--rm", "--network", "none", "busybox", "true"))


def exec_prepare(side: Side) -> None:
    side.docker("run", "-d", "--name", "bench-exec", "busybox", "sleep", "3600")


def exec_once(side: Side) -> float:
    return timed(lambda: side.docker("exec", "bench-exec", "true"))


def exec_finish(side: Side) -> None:
    side.docker("rm", "-f", "bench-exec")


STORM = 40


def storm(side: Side) -> float:
    def one(number: int) -> None:
        side.docker("run", "-d", "--name", f"bench-{number}", "busybox", "sleep", "3600")

    with ThreadPoolExecutor(STORM) as pool:
        took = timed(lambda: list(pool.map(one, range(STORM))))
    side.docker("rm", "-f", *(f"bench-{n}" for n in range(STORM)))
    return took / STORM


LINES = 200_000


def log_lines(side: Side) -> float:
    def through() -> None:
        side.docker("run", "--name", "bench-log", "busybox", "seq", str(LINES))
        out = side.docker("logs", "bench-log")
        assert out.count("\n") == LINES, out.count("\n")

    try:
        return timed(through)
    finally:
        side.docker("rm", "-f", "bench-log")


def build_context(side: Side) -> None:
    lines = ["FROM busybox"]
    context = side.scratch / "context"
    context.mkdir(exist_ok=True)
    for n in range(6):
        (context / f"file{n}").write_bytes(os.urandom(1000))
        lines += [f"COPY file{n} /data/file{n}", f"RUN echo {n} > /made{n}"]
    (context / "Dockerfile").write_text("\n".join(lines) + "\n")


def build(side: Side) -> float:
    command = ("build", "-q", "--no-cache", "-t", "bench-build", str(side.scratch / "context"))
    return timed(lambda: side.docker(*command))


def own_ps_prepare(side: Side) -> None:
    for n in range(3):
        side.docker("run", "-d", "--name", f"bench-ps{n}", "busybox", "sleep", "3600")


def own_ps(side: Side) -> float:
    return timed(lambda: side.run(*side.own("ps")))


def own_ps_finish(side: Side) -> None:
    side.docker("rm", "-f", *(f"bench-ps{n}" for n in range(3)))


def ping(side: Side) -> float:
    import bench_ping

    context = str(side.scratch / "context")
    times = bench_ping.pinged(side.docker, side.host, context, STORM)
    return bench_ping.percentile(times, 99)


def resident(pid: int) -> int:
    """Proportional set size of a process and its children, kB."""
    total = 0
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += resident(int(child))
    return total


def memory_at_rest(side: Side) -> float:
    return resident(side.pid) / 1024


def memory_per_container(side: Side) -> float:
    count = 20

    def used() -> float:
        kilobytes = resident(side.pid)
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    name = Path(f"/proc/{entry.name}/comm").read_text().strip()
                    if name in ("conmon", "containerd-shim"):
                        kilobytes += resident(int(entry.name))
        return kilobytes / 1024

    before = used()
    for n in range(count):
        side.docker("run", "-d", "--name", f"bench-mem{n}", "busybox", "sleep", "3600")
    after = used()
    side.docker("rm", "-f", *(f"bench-mem{n}" for n in range(count)))
    return (after - before) / count


COMPOSE = "services:\n" + "".join(
    f"  s{n}:\n    image: busybox\n    command: sleep 3600\n    stop_signal: SIGKILL\n"
    for n in range(10)
)


def compose_prepare(side: Side) -> None:
    directory = side.scratch / "ten"
    directory.mkdir(exist_ok=True)
    (directory / "docker-compose.yml").write_text(COMPOSE)


def compose_command(side: Side) -> list[str]:
    program = side.own("compose") if side.python else ["docker-compose"]
    return [*program, "-f", str(side.scratch / "ten" / "docker-compose.yml")]


def compose_up(side: Side) -> float:
    took = timed(lambda: side.run(*compose_command(side), "up", "-d"))
    side.run(*compose_command(side), "down")
    return took


def compose_down(side: Side) -> float:
    side.run(*compose_command(side), "up", "-d")
    return timed(lambda: side.run(*compose_command(side), "down"))


def compose_same(side: Side) -> float:
    side.run(*compose_command(side), "up", "-d")
    took = timed(lambda: side.run(*compose_command(side), "up", "-d"))
    side.run(*compose_command(side), "down")
    return took


CASES = [
    Case("run", "run --rm busybox true, bridge", 0.20, run_bridge, rounds=25),
    Case("run-none", "the same, --network none", 0.20, run_none, rounds=25),
    Case(
        "exec", "exec c true", 0.5, exec_once, rounds=25, prepare=exec_prepare, finish=exec_finish
    ),
    Case("storm", f"{STORM} run -d at once, each", 0.35, storm, rounds=5),
    Case("logs", f"{LINES} log lines through the driver and back", 0.6, log_lines, rounds=3),
    Case("build", "build, 6 RUN + 6 COPY, no cache", 0.35, build, rounds=5, prepare=build_context),
    Case(
        "ping",
        f"p99 of a ping during a pull, a build, {STORM} run -d",
        1.0,
        ping,
        rounds=3,
        prepare=build_context,
    ),
    Case(
        "ps",
        "ps by each side's own command",
        3.5,
        own_ps,
        prepare=own_ps_prepare,
        finish=own_ps_finish,
    ),
    Case("memory", "memory of the daemon at rest", 0.6, memory_at_rest, "MB", rounds=1),
    Case("memory-each", "memory per container", 0.2, memory_per_container, "MB", rounds=1),
    Case(
        "up",
        "compose up, 10 services (Docker: docker-compose 1.29.2)",
        0.35,
        compose_up,
        rounds=3,
        prepare=compose_prepare,
    ),
    Case("up-same", "compose up, no change", 1.2, compose_same, rounds=3, prepare=compose_prepare),
    Case("down", "compose down, 10 services", 0.5, compose_down, rounds=3, prepare=compose_prepare),
]


def start(daemon: DaemonProcess) -> None:
    """With its state where it is when users start it: in memory, as /run is."""
    daemon.state.mkdir(parents=True)
    mounted = ["mount", "-t", "tmpfs", "-o", "mode=0711", "bench", str(daemon.state)]
    subprocess.run(mounted, check=True)
    daemon.start()


@contextlib.contextmanager
def sides(base: Path, against: Path | None) -> Iterator[list[Side]]:
    """sampan and what it is compared with, where that is there: Docker, or another checkout of
    sampan. Each has ``busybox``."""
    image = io.BytesIO()
    busybox_tar(image)
    with contextlib.ExitStack() as stack:

        def sampand(name: str, directory: str, python: str) -> Side:
            daemon = DaemonProcess(base / directory)
            daemon.python = python
            stack.callback(daemon.destroy)
            start(daemon)
            side = Side(name, daemon.host, daemon.pid, base / f"work-{directory}", python)
            side.env = daemon.environment
            return side

        found = [sampand("sampan", "s", sys.executable)]
        if against is not None:
            found.append(sampand("other", "o", str(against / ".venv" / "bin" / "python")))
        elif shutil.which("dockerd"):
            # its bridge must not meet the one of a Docker daemon that may be at work here
            dockerd = DockerDaemon(base / "d", "--bip", "10.213.250.1/24")
            stack.callback(dockerd.destroy)
            start(dockerd)
            found.append(Side("docker", dockerd.host, dockerd.pid, base / "work-d"))
            found[-1].env = found[0].env | {"DOCKER_HOST": dockerd.host}
        for side in found:
            side.scratch.mkdir()
            side.env = side.env | {"DOCKER_BUILDKIT": "0"}
            side.docker("import", "-c", 'CMD ["sh"]', "-", "busybox:latest", stdin=image.getvalue())
        yield found


def measure(case: Case, both: list[Side], rounds: int) -> dict[str, list[float]]:
    samples: dict[str, list[float]] = {side.name: [] for side in both}
    for side in both:
        if case.prepare:
            case.prepare(side)
        if rounds > 1:
            case.sample(side)  # warm caches on both sides alike
    for _ in range(rounds):
        for side in both:
            # what the other side still tidies up after its answer must not be paid for by this one
            time.sleep(SETTLE_S)
            samples[side.name].append(case.sample(side))
    for side in both:
        if case.finish:
            case.finish(side)
    return samples


def cluster(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    import bench_cluster

    if options.list:
        for case in bench_cluster.CASES:
            print(f"{case.key:16} {case.title}")
        return 0
    if unknown := set(options.cases) - set(bench_cluster.keys()):
        parser.error(f"no such case: {', '.join(sorted(unknown))}; --list names them")
    return bench_cluster.run(options.cases, options.rounds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench")
    parser.add_argument("cases", nargs="*", help="keys of the cases to run; all if none")
    parser.add_argument(
        "--rounds", type=int, help="rounds of each case (its own number if not given)"
    )
    parser.add_argument("--only", default="", help="keys of the cases to run, with commas between")
    parser.add_argument(
        "--cluster", action="store_true", help="the cluster's cases, on three hosts of each side"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="compare with the sampan of another checkout, whose .venv is made, not with Docker",
    )
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    options = parser.parse_args()
    options.cases += [key for key in options.only.split(",") if key]
    if options.cluster:
        return cluster(parser, options)
    if options.list:
        for case in CASES:
            print(f"{case.key:12} {case.title}")
        return 0
    if unknown := set(options.cases) - {case.key for case in CASES}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}; --list names them")
    chosen = [c for c in CASES if not options.cases or c.key in options.cases]
    with tempfile.TemporaryDirectory(prefix="smpb", ignore_cleanup_errors=True) as base:
        with sides(Path(base), options.against) as both:
            other = both[1].name if len(both) > 1 else "-"
            print(f"{'case':60} {other:>10} {'sampan':>10} {'ratio':>7} {'target':>7}")
            for case in chosen:
                samples = measure(case, both, options.rounds or case.rounds)
                ours = statistics.median(samples["sampan"])
                theirs = statistics.median(samples[other]) if other in samples else 0.0
                ratio = f"{ours / theirs:.2f}" if theirs else "-"
                target = 1.0 if options.against else case.target
                verdict = "" if not theirs or ours / theirs <= target else "  missed"
                print(
                    f"{case.title:60} {theirs:7.1f} {case.unit:2} {ours:7.1f} {case.unit:2} "
                    f"{ratio:>7} {target:>7.2f}{verdict}",
                    flush=True,
                )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
