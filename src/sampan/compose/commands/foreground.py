"""``up`` without ``-d``: the logs of everything, until everything has ended or Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import dataclass
from types import FrameType, TracebackType

from sampan.client import Hijacked, containers
from sampan.client.frames import Demultiplexer
from sampan.compose.commands.app import App
from sampan.compose.model.project import Project
from sampan.compose.plan.down import plan_signal, plan_stop
from sampan.compose.plan.observed import Observed
from sampan.compose.plan.steps import Plan
from sampan.compose.run.log_merger import Merger, is_tty
from sampan.compose.run.observe import list_project
from sampan.errors import SampanError


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowOptions:
    """What of the containers is shown, and what ends the command."""

    color: bool = False
    prefix: bool = True
    timestamps: bool = False
    ends_with_one: bool = False
    """Stop everything when the first container has ended."""
    exit_code_from: str = ""
    timeout_s: int | None = None
    attach: frozenset[str] = frozenset()
    """Services whose output is shown; none: of all but those that say ``attach: false``."""
    no_attach: frozenset[str] = frozenset()


class Foreground:
    """Attaches to each container before its start, so that no line is lost."""

    def __init__(self, app: App, project: Project, options: FollowOptions) -> None:
        self._app = app
        self._project = project
        self._options = options
        self._merger = Merger(
            sys.stdout, prefix=options.prefix, color=options.color, timestamps=options.timestamps
        )
        self._changed = threading.Condition()
        self._running: dict[str, str] = {}
        self._ended: list[tuple[str, int]] = []
        self._interrupts = 0
        self._old_handler: object = None

    def __enter__(self) -> Foreground:
        # Only a flag: the main loop acts on it, outside of the handler.
        self._old_handler = signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGTERM, self._interrupted)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._old_handler)  # type: ignore[arg-type]
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self._interrupts += 1

    def before(self, observed: Observed, plan: Plan) -> None:
        """Join what runs already and will not be touched."""
        ids = {c.name: c.id for c in observed.containers}
        for name in plan.unchanged:
            self.attach(name, ids[name])

    def attach(self, name: str, container: str) -> None:
        """Follow a container that is about to start (or runs): what it prints from now on."""
        label = name.removeprefix(f"{self._project.name}-")
        shown = self._shown(name)
        if shown:
            self._merger.introduce([label])
        # Joined before the start, so that the first line is seen and no line of an earlier run.
        hijacked = containers.attach(self._app.client, container) if shown else None
        waiting = containers.wait(self._app.client, container, "next-exit")
        with self._changed:
            self._running[container] = label
        threading.Thread(target=self._until_exit, args=(container, waiting), daemon=True).start()
        if hijacked is not None:
            threading.Thread(
                target=self._logs, args=(label, container, hijacked), daemon=True
            ).start()

    def _shown(self, name: str) -> bool:
        service = self._project.service_of(name)
        if service is None:
            return True
        if self._options.attach:
            return service.name in self._options.attach
        return service.attach is not False and service.name not in self._options.no_attach

    def _logs(self, label: str, container: str, hijacked: Hijacked) -> None:
        client = self._app.client
        try:
            tty = is_tty(client, container)
            rest = b""
            demultiplexer = Demultiplexer()
            while data := hijacked.recv():
                pieces = [data] if tty else [p for _, p in demultiplexer.feed(data)]
                *lines, rest = (rest + b"".join(pieces)).split(b"\n")
                for line in lines:
                    self._merger.line(label, line.rstrip(b"\r").decode("utf-8", "replace"))
            if rest:
                self._merger.line(label, rest.decode("utf-8", "replace"))
        except (SampanError, OSError) as error:
            self._merger.line(label, f"(log ended: {error})")

    def _until_exit(self, container: str, waiting: object) -> None:
        try:
            code, _ = containers.exit_code(waiting)  # type: ignore[arg-type]
        except SampanError:
            code = 1
        with self._changed:
            label = self._running.pop(container, "")
            self._ended.append((label, code))
            self._changed.notify_all()

    def follow(self) -> int:
        """Until everything has ended, one has (``--abort-on-container-exit``), or Ctrl-C.

        Answers the exit code of the command.
        """
        abort, source = self._options.ends_with_one, self._options.exit_code_from
        told = 0
        with self._changed:
            while True:
                for label, code in self._ended[told:]:
                    self._merger.line(label, f"exited with code {code}")
                told = len(self._ended)
                if self._interrupts or (abort and self._ended) or not self._running:
                    break
                # A signal does not wake a Condition: look at the flag now and then.
                self._changed.wait(0.2)
        first = self._ended[0][1] if self._ended else 0
        if self._interrupts or abort:
            self._stop()
        if source:
            codes = [code for label, code in self._ended if label.rpartition("-")[0] == source]
            return codes[0] if codes else 137
        if self._interrupts:
            return 130
        return first if abort else 0

    def _stop(self) -> None:
        """Stop in good order; a second Ctrl-C kills."""
        sys.stderr.write("Gracefully stopping... (press Ctrl+C again to force)\n")
        seen = self._interrupts
        there = list_project(self._app.client, self._project.name)
        plan = plan_stop([c for c in there if not c.oneoff], self._options.timeout_s)
        worker = threading.Thread(
            target=self._app.carry_out, args=(plan, self._project), daemon=True
        )
        worker.start()
        while worker.is_alive():
            worker.join(0.1)
            if self._interrupts > seen:
                self._app.carry_out(plan_signal(there, "kill"), self._project)
                break
        with self._changed:
            self._changed.wait_for(lambda: not self._running, 2.0)
