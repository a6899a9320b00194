"""What every command needs: the arguments, the project, a client, and a way to carry plans out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from sampan.compose.errors import StepFailed, UsageError
from sampan.compose.file.load import Loaded, LoadRequest, folder_name, load, surroundings
from sampan.compose.model.project import Project, no_such_service
from sampan.compose.model.read_project import read
from sampan.compose.model.schema import TOP

if TYPE_CHECKING:
    from sampan.client import Client
    from sampan.compose.plan.observed import ObservedContainer
    from sampan.compose.plan.steps import Plan
    from sampan.compose.run.progress import Progress
    from sampan.flags import Args

COLORS = ("auto", "never", "always")
PROGRESS = ("auto", "plain", "tty", "quiet")


def one_of(args: Args, flag: str, known: Sequence[str], default: str = "") -> str:
    """The word given for a flag, if it is known. Raises UsageError."""
    word = args.text(flag, default)
    if word and word not in known:
        raise UsageError(f'--{flag} takes one of {", ".join(known)}, not "{word}"')
    return word


class App:
    """One invocation: ``top`` are compose's own flags, ``args`` the command's."""

    def __init__(
        self,
        top: Args,
        args: Args,
        client_factory: Callable[[], Client],
        environ: Mapping[str, str],
    ) -> None:
        self._top = top
        self._args = args
        self.environ = environ
        self._client_factory = client_factory
        self._warned: set[str] = set()
        self.ansi = one_of(top, "ansi", COLORS, environ.get("COMPOSE_ANSI", "auto"))
        self._progress = one_of(top, "progress", PROGRESS, environ.get("COMPOSE_PROGRESS", "auto"))

    @cached_property
    def client(self) -> Client:
        return self._client_factory()

    @property
    def dry_run(self) -> bool:
        """Whether plans are printed instead of carried out."""
        return self._args.on("dry-run", self._top.on("dry-run"))

    @cached_property
    def progress(self) -> Progress:
        from sampan.compose.run.progress import Progress

        color = {"auto": None, "never": False, "always": True}[self.ansi]
        progress = Progress(mode=self._progress, color=color)
        for name in ("compatibility", "verbose"):
            if self._top.on(name):
                progress.warn(f"--{name} has no effect")
        return progress

    def colored(self, args: Args) -> bool:
        """Whether log lines have colours."""
        wanted = self.ansi == "always" or (self.ansi == "auto" and sys.stdout.isatty())
        return wanted and not args.on("no-color")

    @cached_property
    def request(self) -> LoadRequest:
        """The command line over COMPOSE_FILE, COMPOSE_PROFILES ... of the shell and of .env."""
        top = self._top
        directory = top.maybe("project-directory")
        env_files = tuple(top.many("env-file"))
        cwd = os.getcwd()
        env = surroundings(env_files, directory, cwd, self.environ)
        separator = env.get("COMPOSE_PATH_SEPARATOR", ":")
        files = tuple(top.many("file")) or tuple(
            part for part in env.get("COMPOSE_FILE", "").split(separator) if part
        )
        return LoadRequest(
            files=files,
            project=top.maybe("project-name"),
            directory=directory,
            env_files=env_files,
            profiles=tuple(top.many("profile")),
            cwd=cwd,
        )

    def tree(self, *, interpolated: bool = True) -> Loaded:
        """The file before it becomes a project; warnings are printed."""
        loaded = load(self.request, self.environ, TOP, interpolated=interpolated)
        self._warn(loaded.warnings)
        return loaded

    @cached_property
    def _loaded(self) -> Loaded:
        return self.tree()

    def _warn(self, warnings: Iterable[str]) -> None:
        """Each once, however often a command asks for the project."""
        for warning in warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self.progress.warn(warning)

    def load(self, named: Sequence[str] = (), *, every_profile: bool = False) -> Project:
        """The project; warnings are printed. ``named`` services count even without a profile."""
        loaded = self._loaded
        said = loaded.variables.get("COMPOSE_PROFILES", "").split(",")
        profiles = (*self.request.profiles, *(part.strip() for part in said if part.strip()))
        project = read(loaded, ("*",) if every_profile else profiles, tuple(named))
        self._warn(project.warnings)
        return project

    def project_name(self) -> str:
        """The project's name when the file is not needed (or not there)."""
        if self.request.project:
            return self.request.project
        try:
            return self.load(every_profile=True).name
        except UsageError:
            if self.request.files:
                raise
            return self.environ.get("COMPOSE_PROJECT_NAME") or folder_name(os.getcwd())

    def containers(
        self, named: Sequence[str] = (), *, oneoff: bool = False, every: bool = True
    ) -> list[ObservedContainer]:
        """The project's containers, of the services named (or of all), by name.

        Raises:
            UsageError: a service is named that neither the file nor a container knows.
        """
        from sampan.compose.run.observe import list_project

        found = list_project(self.client, self.project_name(), all=every)
        for name in named:
            if not any(c.service == name for c in found):
                project = self.load(every_profile=True)
                if name not in project.services:
                    raise no_such_service(project, name)
        return sorted(
            (c for c in found if (oneoff or not c.oneoff) and (not named or c.service in named)),
            key=lambda c: (c.service, c.number),
        )

    def empty_project(self) -> Project:
        """For plans that need nothing of the file."""
        name = self.project_name()
        return Project(name, os.getcwd(), (), {}, {}, {}, {}, {}, {})

    def carry_out(
        self,
        plan: Plan,
        project: Project,
        before_start: Callable[[str, str], None] = lambda name, container: None,
    ) -> None:
        """Print (``--dry-run``) or execute a plan. Raises StepFailed."""
        for warning in plan.warnings:
            self.progress.warn(warning)
        if self.dry_run:
            sys.stdout.write(f"{plan}\n")
            return
        from sampan.compose.run.execute import Executor

        outcome = Executor(self.client, project, self.progress, before_start).run(plan)
        if not outcome.ok:
            lines = [f"{s.verb} {s.target}: {error}" for s, error in outcome.failed]
            if outcome.skipped:
                lines.append(f"not done because of that: {len(outcome.skipped)} steps")
            raise StepFailed("\n".join(lines))
