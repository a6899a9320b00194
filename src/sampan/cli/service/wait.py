"""The live view of services that are becoming what was asked for."""

from __future__ import annotations

import signal
import sys
import time

from sampan.cli.service.progress import ServiceProgress
from sampan.cli.terminal.console import CliError, columns
from sampan.client import NotFound, cluster, services

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sampan.cli.terminal.console import Console
    from sampan.client import Client

_PERIOD_S = 0.1


class Screen:
    """Lines that are redrawn in place on a terminal; elsewhere each is printed when it is new."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._width = columns(1)
        self._quiet = quiet
        self._drawn = 0
        self._said: set[str] = set()

    def draw(self, lines: Sequence[str]) -> None:
        """Show ``lines`` in the place of those before."""
        if self._quiet:
            return
        if not self._width:
            for line in lines:
                # The countdown is one line, not one a second.
                key = "verify: Waiting" if line.startswith("verify: Waiting") else line
                if key not in self._said:
                    self._said.add(key)
                    sys.stdout.write(f"{line}\n")
        else:
            out = f"\x1b[{self._drawn}A" if self._drawn else ""
            out += "".join(f"\r\x1b[2K{line[: self._width - 1]}\n" for line in lines)
            gone = self._drawn - len(lines)
            if gone > 0:
                out += "\r\x1b[2K\n" * gone + f"\x1b[{gone}A"
            sys.stdout.write(out)
            self._drawn = len(lines)
        sys.stdout.flush()

    def keep(self, line: str) -> None:
        """A last line that stays."""
        if not self._quiet:
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


class ServiceReader:
    """What the API shows of one service, for ``Convergence.look``."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._nodes: dict[str, str] = {}
        self._nodes_at = -10.0

    def nodes(self, now: float) -> Mapping[str, str]:
        """Names of the nodes that may run tasks; asked every second at most."""
        if now - self._nodes_at >= 1.0:
            self._nodes_at = now
            self._nodes = {
                str(node["ID"]): str((node.get("Description") or {}).get("Hostname") or node["ID"])
                for node in cluster.nodes(self._client)
                if (node.get("Status") or {}).get("State") != "down"
                and node["Spec"].get("Availability") != "drain"
            }
        return self._nodes

    def look(self, way: ServiceProgress, identifier: str) -> None:
        """One look. Raises CliError when the service is gone."""
        now = time.monotonic()
        try:
            service = services.inspect(self._client, identifier)
        except NotFound:
            raise CliError(f"service {way.ref} was removed while it was watched") from None
        filters = {"service": [identifier], "_up-to-date": ["true"]}
        way.look(service, cluster.tasks(self._client, filters), self.nodes(now), now)


def _end_at_interrupt() -> None:
    """As docker's command does: also where the caller ignores SIGINT, which is how a shell starts
    its background jobs. The service is left as it is, so nobody loses anything by it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_for_service(
    console: Console,
    identifier: str,
    *,
    quiet: bool = False,
    before: object = None,
    rolling_back: bool = False,
) -> int:
    """Watch one service until it has converged; the exit code.

    Ctrl-C ends the watching and leaves the service as it is. ``before``: its UpdateStatus as it
    was before the change.
    """
    way = ServiceProgress(identifier, before=before, rolling_back=rolling_back)
    eyes = ServiceReader(console.client)
    screen = Screen(quiet=quiet)
    _end_at_interrupt()
    try:
        while True:
            eyes.look(way, identifier)
            screen.draw(way.shown())
            if way.verdict is not None:
                break
            time.sleep(_PERIOD_S)
    except KeyboardInterrupt:
        return _left(screen, f"sampan service ps {identifier}")
    code, sentence = way.verdict
    if code:
        raise CliError(sentence, code)
    screen.keep(sentence)
    return 0


def wait_for_services(console: Console, named: Mapping[str, str], hint: str, *, quiet: bool) -> int:
    """Watch several services (id -> name) at once; the exit code. ``hint``: how to look again."""
    ways = {identifier: ServiceProgress(name) for identifier, name in named.items()}
    eyes = ServiceReader(console.client)
    screen = Screen(quiet=quiet)
    _end_at_interrupt()
    width = max(map(len, named.values()), default=0)
    try:
        while True:
            for identifier, way in ways.items():
                if way.verdict is None:
                    eyes.look(way, identifier)
            screen.draw(overview(list(ways.values()), width))
            if all(way.verdict is not None for way in ways.values()):
                break
            time.sleep(_PERIOD_S)
    except KeyboardInterrupt:
        return _left(screen, hint)
    failures = [
        f"{way.ref}: {way.verdict[1]}" for way in ways.values() if way.verdict and way.verdict[0]
    ]
    if failures:
        raise CliError("\n".join(failures))
    screen.keep("verify: all services converged")
    return 0


def overview(ways: Sequence[ServiceProgress], width: int) -> list[str]:
    """One line for all, and one for each."""
    done, total = sum(way.done for way in ways), sum(way.total for way in ways)
    lines = [f"overall progress: {done} out of {total} tasks"]
    for way in ways:
        rest = way.phase if way.done == way.total else way.reason()
        lines.append(f"{way.ref:{width}}  {way.done}/{way.total}  {rest}".rstrip())
    return lines


def _left(screen: Screen, command: str) -> int:
    screen.keep(f"\nOperation continuing in background.\nUse `{command}` to check progress.")
    return 0
