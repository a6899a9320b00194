"""What can be wrong with a compose file or with carrying it out.

Every message about a file begins with ``FILE:LINE:``, so that editors and people can jump there.
"""

from __future__ import annotations

from typing import NamedTuple

from sampan.errors import InvalidArgument, SampanError


class Where(NamedTuple):
    """A place in a file. ``line`` counts from 1; 0 stands for the file as a whole."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


class ComposeFileError(InvalidArgument):
    """The compose file cannot be used as it is written."""

    def __init__(self, where: Where, message: str) -> None:
        super().__init__(f"{where}: {message}")
        self.where = where


class ManyProblems(InvalidArgument):
    """Several problems of one file, reported at once, in the order of its lines."""

    def __init__(self, problems: list[tuple[Where, str]]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(f"{where}: {message}" for where, message in self.problems))


class UsageError(InvalidArgument):
    """The command line asks for something that does not exist or does not fit together."""


class StepFailed(SampanError):
    """At least one step of a plan failed; each was reported when it did."""
