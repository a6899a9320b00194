"""``logs``."""

from __future__ import annotations

import sys
import threading

from sampan.client import containers
from sampan.compose.commands.app import App
from sampan.compose.errors import UsageError
from sampan.compose.plan.observed import ObservedContainer
from sampan.compose.run.log_merger import Merger, is_tty
from sampan.flags import BOOL, INT, TEXT, Args, Command, Flag


def logs(app: App, args: Args) -> int:
    """Print (and follow) the logs of the project's containers."""
    found = _wanted(app, args)
    merger = Merger(sys.stdout, prefix=not args.on("no-log-prefix"), color=app.colored(args))
    names = {c.id: f"{c.service}-{c.number}" for c in found}
    merger.introduce(names.values())

    def one(container: str) -> None:
        response = containers.logs(
            app.client,
            container,
            follow=args.on("follow"),
            timestamps=args.on("timestamps"),
            tail=args.text("tail", "all"),
            since=_moment(args.maybe("since")),
            until=_moment(args.maybe("until")),
        )
        merger.pump(names[container], response, is_tty(app.client, container))

    threads = [threading.Thread(target=one, args=(c.id,), daemon=True) for c in found]
    for thread in threads:
        thread.start()
        if not args.on("follow"):
            thread.join()  # one after the other: the order of the output is stable
    for thread in threads:
        thread.join()
    return 0


def _wanted(app: App, args: Args) -> list[ObservedContainer]:
    """Those asked for; when none is named, all but those that say ``attach: false``."""
    found = app.containers(args.rest)
    index = args.number("index")
    if index is not None:
        found = [c for c in found if c.number == index]
    if args.rest:
        return found
    try:
        services = app.load(every_profile=True).services
    except UsageError:
        return found  # without a file nothing is left out
    muted = {name for name, service in services.items() if service.attach is False}
    return [c for c in found if c.service not in muted]


def _moment(text: str | None) -> str | None:
    """``10m`` before now, or a time, as seconds since the epoch (the engine takes both)."""
    if not text:
        return None
    import time
    from datetime import datetime

    from sampan.units import duration_ns

    try:
        return f"{time.time() - duration_ns(text, days=True) / 10**9:.9f}"
    except ValueError:
        pass  # not a duration: then it is a time
    try:
        return f"{datetime.fromisoformat(text).timestamp():.9f}"
    except ValueError:
        return text


COMMANDS = {
    "logs": Command(
        "compose logs",
        "[OPTIONS] [SERVICE...]",
        "View output from containers",
        logs,
        (
            Flag("follow", "f", BOOL, "Follow log output"),
            Flag("index", "", INT, "Index of the container if service has multiple replicas"),
            Flag("no-color", "", BOOL, "Produce monochrome output"),
            Flag("no-log-prefix", "", BOOL, "Don't print prefix in logs"),
            Flag("since", "", TEXT, "Show logs since a time or a duration (42m)"),
            Flag("tail", "n", TEXT, "Number of lines to show from the end for each container"),
            Flag("timestamps", "t", BOOL, "Show timestamps"),
            Flag("until", "", TEXT, "Show logs before a time or a duration (42m)"),
        ),
        0,
        None,
    )
}
