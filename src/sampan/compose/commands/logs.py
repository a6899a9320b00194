"""``logs``."""

from __future__ import annotations

import sys
import threading

from sampan.client import containers
from sampan.compose.commands.app import App
from sampan.compose.run.log_merger import Merger, is_tty


def logs(app: App) -> int:
    """Print (and follow) the logs of the project's containers."""
    args = app.args
    found = app.containers()
    color = args.ansi == "always" or (args.ansi == "auto" and sys.stdout.isatty())
    merger = Merger(sys.stdout, prefix=not args.no_log_prefix, color=color and not args.no_color)
    names = {c.id: f"{c.service}-{c.number}" for c in found}
    merger.introduce(names.values())

    def one(container: str) -> None:
        response = containers.logs(
            app.client,
            container,
            follow=args.follow,
            timestamps=args.timestamps,
            tail=args.tail,
            since=_moment(args.since),
            until=_moment(args.until),
        )
        merger.pump(names[container], response, is_tty(app.client, container))

    threads = [threading.Thread(target=one, args=(c.id,), daemon=True) for c in found]
    for thread in threads:
        thread.start()
        if not args.follow:
            thread.join()  # one after the other: the order of the output is stable
    for thread in threads:
        thread.join()
    return 0


def _moment(text: str | None) -> str | None:
    """``10m`` before now, or a time, as seconds since the epoch (the engine takes both)."""
    if not text:
        return None
    import time
    from datetime import datetime

    from sampan.compose.units import duration_ns

    try:
        return f"{time.time() - duration_ns(text) / 10**9:.9f}"
    except ValueError:
        pass  # not a duration: then it is a time
    try:
        return f"{datetime.fromisoformat(text).timestamp():.9f}"
    except ValueError:
        return text
