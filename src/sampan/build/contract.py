"""What the API asks of the builder: one context and a Dockerfile in, one image out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sampan.errors import InvalidArgument
from sampan.image.contract import Credentials, ImageUser, Progress
from sampan.store.records import BuildCacheEntry, Ulimit


class DockerfileError(InvalidArgument):
    """Names the file and the line: ``Dockerfile:7: unknown instruction: RUNN``."""


class BuildFailed(InvalidArgument):
    """A step ended with a non-zero exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    context: Path
    """The unpacked context; belongs to the caller, who removes it."""
    dockerfile: str = "Dockerfile"
    """Relative to the context."""
    tags: tuple[str, ...] = ()
    build_args: dict[str, str | None] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    target: str = ""
    no_cache: bool = False
    pull: bool = False
    cache_from: tuple[str, ...] = ()
    network_mode: str = "default"
    extra_hosts: tuple[str, ...] = ()
    memory: int = 0
    shm_size: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    platform: str = ""
    squash: bool = False
    credentials: dict[str, Credentials] = field(default_factory=dict)
    """By registry."""


@dataclass(frozen=True, slots=True)
class BuildOutput:
    """What happens, as it happens: exactly one field is set."""

    text: str = ""
    """Lines for the user ("Step 1/6 : FROM busybox\\n"), and a step's own output."""
    progress: Progress | None = None
    """Of a base image's pull."""
    image_id: str = ""
    """Once, at the end."""


def anything(_: BuildCacheEntry) -> bool:
    """No filter."""
    return True


class Builder(Protocol):
    async def build(self, request: BuildRequest, emit: Callable[[BuildOutput], None]) -> str:
        """Returns the image id. Cancelling it (the client hung up) stops the running step and
        leaves nothing.

        Raises:
            DockerfileError, BuildFailed, NoSuchImage, InvalidArgument ...
        """
        ...

    def image_user(self, image_id: str) -> ImageUser | None:
        """A build that runs now and stands on the image: a prune must not take its last step from
        under it."""
        ...

    def cache(self) -> Sequence[BuildCacheEntry]:
        """What earlier steps made."""
        ...

    async def prune(
        self, matches: Callable[[BuildCacheEntry], bool] = anything, *, all: bool = False
    ) -> tuple[list[str], int]:
        """Forget cache rows and remove the images that only they held: those no tagged image
        and no container stands on; ``all``: every row, and, when everything ``matches``, what
        cache mounts hold. Returns image ids and bytes given back."""
        ...
