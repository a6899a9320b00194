"""``runc``: nothing beyond the specification."""

from __future__ import annotations

from pathlib import Path

from sampan.runtime.oci_runtimes.command_line import CommandLineRuntime

NAME = "runc"


class Runc(CommandLineRuntime):
    def __init__(self, root: Path) -> None:
        super().__init__(NAME, NAME, root, package=NAME, sealed=True)
