"""What every command needs: the arguments, the project, a client, and a way to carry plans out."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from sampan.compose.errors import StepFailed, UsageError
from sampan.compose.file.load import Request, folder_name, load
from sampan.compose.model.project import Project, no_such_service
from sampan.compose.model.read_project import read
from sampan.compose.model.schema import TOP

if TYPE_CHECKING:
    from sampan.client import Client
    from sampan.compose.plan.observed import ObservedContainer
    from sampan.compose.plan.steps import Plan
    from sampan.compose.run.progress import Progress


class App:
    """One invocation."""

    def __init__(
        self,
        args: argparse.Namespace,
        client_factory: Callable[[], Client],
        environ: Mapping[str, str],
    ) -> None:
        self.args = args
        self.environ = environ
        self._client_factory = client_factory

    @cached_property
    def client(self) -> Client:
        return self._client_factory()

    @cached_property
    def progress(self) -> Progress:
        from sampan.compose.run.progress import Progress

        color = {"auto": None, "never": False, "always": True}[self.args.ansi]
        return Progress(mode=self.args.progress, color=color)

    @property
    def services(self) -> tuple[str, ...]:
        """Service names given behind the command."""
        return tuple(getattr(self.args, "services", ()) or ())

    @cached_property
    def request(self) -> Request:
        """The command line over COMPOSE_FILE, COMPOSE_PROFILES ..."""
        args, env = self.args, self.environ
        separator = env.get("COMPOSE_PATH_SEPARATOR", ":")
        files = tuple(args.file) or tuple(
            part for part in env.get("COMPOSE_FILE", "").split(separator) if part
        )
        profiles = [p for p in env.get("COMPOSE_PROFILES", "").split(",") if p]
        return Request(
            files=files,
            project=args.project_name,
            directory=args.project_directory,
            env_files=tuple(args.env_file),
            profiles=(*args.profile, *profiles),
            cwd=os.getcwd(),
        )

    def load(self, named: tuple[str, ...] = (), *, every_profile: bool = False) -> Project:
        """The project; warnings are printed. ``named`` services count even without a profile."""
        loaded = load(self.request, self.environ, TOP)
        for warning in loaded.warnings:
            self.progress.warn(warning)
        profiles = ("*",) if every_profile else self.request.profiles
        project = read(loaded, profiles, named)
        for warning in project.warnings:
            self.progress.warn(warning)
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

    def containers(self, *, oneoff: bool = False, every: bool = True) -> list[ObservedContainer]:
        """The project's containers, of the services named (or of all), by name.

        Raises:
            UsageError: a service is named that neither the file nor a container knows.
        """
        from sampan.compose.run.observe import list_project

        found = list_project(self.client, self.project_name(), all=every)
        for name in self.services:
            if not any(c.service == name for c in found):
                project = self.load(every_profile=True)
                if name not in project.services:
                    raise no_such_service(project, name)
        return sorted(
            (
                c
                for c in found
                if (oneoff or not c.oneoff) and (not self.services or c.service in self.services)
            ),
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
        if self.args.dry_run:
            sys.stdout.write(f"{plan}\n")
            return
        from sampan.compose.run.execute import Executor

        outcome = Executor(self.client, project, self.progress, before_start).run(plan)
        if not outcome.ok:
            lines = [f"{s.verb} {s.target}: {error}" for s, error in outcome.failed]
            if outcome.skipped:
                lines.append(f"not done because of that: {len(outcome.skipped)} steps")
            raise StepFailed("\n".join(lines))
