"""Named directories that outlive containers."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from sampan.errors import Conflict, NotFound
from sampan.store.records import Volume


class NoSuchVolume(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}: no such volume")
        self.name = name


class VolumeInUse(Conflict):
    def __init__(self, name: str, users: tuple[str, ...]) -> None:
        super().__init__(f"remove {name}: volume is in use - [{', '.join(users)}]")
        self.name, self.users = name, users


class Volumes(Protocol):
    async def create(
        self,
        name: str,
        *,
        driver: str = "local",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        anonymous: bool = False,
        provisional: bool = False,
    ) -> Volume:
        """The volume of that name, made when it does not exist (empty ``name``: 64 random hex
        digits). An existing one with another driver is a Conflict. ``provisional``: for a
        container that is being made; whoever asks for it otherwise makes it stay."""
        ...

    def get(self, name: str) -> Volume: ...
    def all(self) -> list[Volume]: ...

    async def mount(self, name: str) -> Path:
        """Make the data directory usable (drivers may mount now), counting users by reference is
        the engine's: containers in the store name their volumes."""
        ...

    async def unmount(self, name: str) -> None:
        """No running container uses it any more: undo what ``mount`` mounted, if it did."""
        ...

    async def seed(self, name: str, source: Path) -> None:
        """Copy what the image has at the target (``source`` in the mounted snapshot) into an
        empty, never seeded volume: contents, owner, mode, xattrs. Nothing when it has content."""
        ...

    async def remove(self, name: str) -> None:
        """Raises NoSuchVolume. The caller has made sure that no container uses it."""
        ...

    async def recover(self) -> None:
        """At the daemon's start: finish what a crash interrupted, remove directories that no
        record knows."""
        ...
