"""``sampand``: the daemon's process, from the command line to the last goodbye.

It runs in the foreground and is ready when its socket answers. SIGTERM and SIGINT stop the daemon,
not the containers: those are held by their monitors and are found again at the next start.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop
from aiohttp import web

from sampan import __version__
from sampan.api import preflight, sockets
from sampan.api.app import make_server
from sampan.api.lock import locked
from sampan.api.options import Options, load
from sampan.api.wiring import open_services
from sampan.errors import SampanError

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
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    config.paths.root.mkdir(parents=True, exist_ok=True, mode=0o710)
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(config.paths.root))
        services = await stack.enter_async_context(open_services(config))
        runner = web.ServerRunner(make_server(services), shutdown_timeout=GRACE_S)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        tls = sockets.tls_context(options.tls) if options.tls is not None else None
        for host in config.hosts:
            if host.startswith("unix://"):
                path = Path(host.removeprefix("unix://"))
                sock = sockets.open_unix(path, config.group)
                stack.callback(path.unlink, missing_ok=True)
                await web.SockSite(runner, sock, backlog=sockets.BACKLOG).start()
            else:
                sock = sockets.open_tcp(host)
                await web.SockSite(runner, sock, ssl_context=tls, backlog=sockets.BACKLOG).start()
        # What was made until now lives as long as the process: the collector need not look at
        # it again, which keeps its pauses below the latency we promise.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        log.info("sampand %s is ready on %s", __version__, ", ".join(config.hosts))
        await stop.wait()
        log.info("stopping; containers go on running")


if __name__ == "__main__":
    sys.exit(main())
