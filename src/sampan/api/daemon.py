"""``sampand``: the daemon's process, from the command line to the last goodbye.

It runs in the foreground and is ready when its socket answers. SIGTERM and SIGINT stop the daemon,
not the containers: those are held by their monitors and are found again at the next start.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import uvloop
from aiohttp import web

from sampan import __version__
from sampan.api import preflight
from sampan.api.authorization import guards
from sampan.api.front import docker_front
from sampan.api.lock import locked, pid_file
from sampan.api.options import Options, load
from sampan.api.wiring import open_services
from sampan.diskwatch import off_the_disk
from sampan.errors import SampanError
from sampan.http import sockets
from sampan.http.server import HttpServer
from sampan.http.tls import TlsProtocol
from sampan.kernel.priority import put_first
from sampan.watchdog import watching

log = logging.getLogger("sampan")

GRACE_S = 5.0
"""How long requests in flight may take to finish when the daemon is told to stop."""
_LEVELS = {"warn": "WARNING", "fatal": "CRITICAL"}


def main(arguments: list[str] | None = None) -> int:
    """The ``sampand`` command. Returns its exit status."""
    try:
        options = load(arguments)
        _start_logging(options.config.log_level)
        if problems := preflight.problems(options.config):
            for problem in problems:
                print(f"sampand: {problem}", file=sys.stderr)
            return 1
        for warning in (*options.warnings, *preflight.warnings(options.config)):
            log.warning("%s", warning)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(options))
    except SampanError as error:
        print(f"sampand: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        log.debug("start failed", exc_info=True)
        print(f"sampand: {error}", file=sys.stderr)
        return 1
    return 0


def _start_logging(level: str) -> None:
    logging.basicConfig(
        level=_LEVELS.get(level, level.upper()),
        format="%(asctime)s.%(msecs)03d %(levelname)s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        stream=sys.stderr,
    )
    logging.captureWarnings(True)


async def serve(options: Options) -> None:
    """Run until a signal comes."""
    config = options.config
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    _go_first()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    config.paths.root.mkdir(parents=True, exist_ok=True, mode=0o710)
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(config.paths.root))
        config.paths.state.mkdir(parents=True, exist_ok=True, mode=0o711)
        # Monitors leave files (conmon: "oom") where they were started; never in a user's directory.
        os.chdir(config.paths.state)
        # Bound before anything is opened, so that a taken address changes nothing on the host;
        # nobody is let in before everything is open.
        bound = [_bind(host, config.group, stack) for host in config.hosts]
        services = await stack.enter_async_context(open_services(config))
        server = HttpServer(docker_front(services, guards(services)), services.tasks)
        runner = web.ServerRunner(server, shutdown_timeout=GRACE_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        tls = sockets.tls_context(options.tls) if options.tls is not None else None
        for sock in bound:
            if sock.family == socket.AF_UNIX:
                await web.SockSite(runner, sock, backlog=sockets.BACKLOG).start()
            elif tls is not None:
                listening = await loop.create_server(
                    lambda: TlsProtocol(tls, server), sock=sock, backlog=sockets.BACKLOG
                )
                stack.callback(listening.close)
        # Last to come and first to go: whose pid it tells is ready.
        stack.enter_context(pid_file(options.pid_file))
        # What was made until now lives as long as the process: the collector need not look at
        # it again, which keeps its pauses below the latency we promise.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        log.info("sampand %s is ready on %s", __version__, ", ".join(config.hosts))
        with _watched(options):
            await stop.wait()
        log.info("stopping; containers go on running")
        server.hang_up()


def _go_first() -> None:
    """The loop's thread does little and everybody waits for it: it does not queue for a processor
    behind the containers that it starts. Its helping threads do."""
    try:
        put_first()
    except OSError as error:
        log.info("answers will be late while this host is busy: %s", error)


@contextmanager
def _watched(options: Options) -> Iterator[None]:
    """While inside, what keeps the running loop is logged, if it is asked for."""
    if options.loop_limit_s <= 0:
        yield
        return
    with off_the_disk(options.config.paths.root), watching(options.loop_limit_s):
        yield


def _bind(host: str, group: str, stack: AsyncExitStack) -> socket.socket:
    if not host.startswith("unix://"):
        return stack.enter_context(sockets.open_tcp(host))
    path = Path(host.removeprefix("unix://"))
    sock = stack.enter_context(sockets.open_unix(path, group))
    stack.callback(path.unlink, missing_ok=True)
    return sock


if __name__ == "__main__":
    sys.exit(main())
