"""How long a ping waits while the daemon has its hands full: ``script/bench ping``.

The one who pings is a process of its own that the scheduler prefers, so that what is measured is
the daemon's loop and not the want of a processor of who asks. Run as a program it is that process.
What makes the daemon busy from outside (the docker commands, the registry and what is put into it)
comes last for the scheduler: in production it is on other hosts, or at other times.
"""

from __future__ import annotations

import asyncio
import os
import random
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from sampan.kernel.priority import put_first
from sampan.testing.registry import layer_tar, registry

EVERY_S = 0.005
SET_APART = 19
"""Niceness of all else that is not the daemon, nor started by it."""
PULL_BYTES = 48 << 20
_REQUEST = b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n"


def pinged(docker: Callable[..., object], host: str, context: str, containers: int) -> list[float]:
    """Milliseconds of each ping during a pull, a build and ``containers`` times ``run -d``."""
    command = [sys.executable, __file__, host.removeprefix("unix://")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as asker:
        assert asker.stdin
        assert asker.stdout
        asker.stdout.readline()
        with _nice(SET_APART):
            asyncio.run(_work(docker, context, containers))
        asker.stdin.close()
        times = [float(word) for word in asker.stdout.read().split()]
    docker("rm", "-f", *(f"bench-ping{n}" for n in range(containers)))
    return times


@contextmanager
def _nice(value: int) -> Iterator[None]:
    """This thread and what it starts, threads and processes."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    os.setpriority(os.PRIO_PROCESS, 0, value)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


async def _work(docker: Callable[..., object], context: str, containers: int) -> None:
    def start(number: int) -> None:
        docker("run", "-d", "--name", f"bench-ping{number}", "busybox", "sleep", "3600")

    with tempfile.TemporaryDirectory(prefix="smpb") as scratch, ThreadPoolExecutor(42) as pool:
        async with registry(Path(scratch)) as source:
            # not compressible, and text all the same, as a layer's helper takes it
            body = random.Random(1).randbytes(PULL_BYTES // 2).hex()
            await source.put("bench/big:1", [layer_tar({"big": body})])
            image = f"{source.url}/bench/big:1"
            loop = asyncio.get_running_loop()
            with suppress(SystemExit):  # it is not there yet
                await loop.run_in_executor(pool, docker, "rmi", "-f", image)
            await asyncio.gather(
                loop.run_in_executor(pool, docker, "pull", "-q", image),
                loop.run_in_executor(
                    pool, docker, "build", "-q", "--no-cache", "-t", "bench-ping", context
                ),
                *(loop.run_in_executor(pool, start, number) for number in range(containers)),
            )
            await loop.run_in_executor(pool, docker, "rmi", "-f", image)


def percentile(times: list[float], percent: float) -> float:
    """Of at least one figure."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def ask(path: str) -> None:
    """Ping again and again until stdin ends; then print how long each took, in milliseconds."""
    with suppress(OSError):  # without root it is one of many
        put_first()
    times = []
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.connect(path)
        print("ready", flush=True)
        while not select.select([0], [], [], 0)[0]:  # readable: at its end
            begin = time.perf_counter()
            daemon.sendall(_REQUEST)
            while not daemon.recv(65536).endswith(b"OK"):
                pass
            times.append((time.perf_counter() - begin) * 1e3)
            time.sleep(EVERY_S)
    print(*(f"{each:.3f}" for each in times))


if __name__ == "__main__":
    ask(sys.argv[1])
