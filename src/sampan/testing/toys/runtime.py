"""An OCI runtime that writes down every command that it is given, and has crun carry it out.

drivers.runtime.register("toy", ToyRuntime(directory, files.oci_root(config.paths)))
"""

from __future__ import annotations

from pathlib import Path

from sampan.runtime.oci_runtimes.command_line import CommandLineRuntime

NAME = "toy"


class ToyRuntime(CommandLineRuntime):
    """``directory``: where the program and its notes are kept."""

    def __init__(self, directory: Path, root: Path, carried_out_by: str = "crun") -> None:
        program, self._notes = directory / "toy-runtime", directory / "toy-runtime.notes"
        program.write_text(f'#!/bin/sh\necho "$@" >> {self._notes}\nexec {carried_out_by} "$@"\n')
        program.chmod(0o755)
        super().__init__(NAME, str(program), root)

    def commands(self) -> list[str]:
        """The words of every call that name a command: create, start, exec, delete ..."""
        known = {"create", "start", "exec", "delete", "update", "kill", "state"}
        lines = self._notes.read_text().splitlines() if self._notes.exists() else []
        return [word for line in lines for word in line.split() if word in known]
