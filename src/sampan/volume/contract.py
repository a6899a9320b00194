"""Named directories that outlive containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

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


class NoSuchDriver(NotFound):
    def __init__(self, driver: str) -> None:
        super().__init__(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        self.driver = driver


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeCapabilities:
    """What a driver does. Asked instead of its name."""

    scope: Literal["local", "global"] = "local"
    """``global``: a volume of that name is the same on every host that has the driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverVolume:
    """A volume as its driver tells of it."""

    name: str
    mountpoint: str = ""
    """Empty: not mounted now, and not known before it is."""
    created_at: float = 0.0
    """Seconds since the epoch; 0: the driver does not say."""
    status: Mapping[str, object] = field(default_factory=dict)
    """Whatever the driver wants ``volume inspect`` to show."""


class VolumeDriver(Protocol):
    """Makes and mounts volumes. Calls for different volumes may overlap, calls for one do not.
    Any of them may take its time: only who asked for that volume waits."""

    @property
    def capabilities(self) -> VolumeCapabilities: ...

    async def create(
        self, name: str, options: Mapping[str, str], labels: Mapping[str, str]
    ) -> None:
        """Make the volume. One of that name that is there already is taken as it is.

        Raises:
            InvalidArgument: an option that it does not know, a name that cannot be.
        """
        ...

    async def remove(self, name: str) -> None:
        """Nobody has it mounted. Idempotent."""
        ...

    async def mount(self, name: str, user: str) -> Path:
        """The directory to give to the container, ready to be used. ``user`` names who mounts it;
        a second mount by one user is the same mount. Every mount is followed by one ``unmount`` of
        that user, also when the daemon was killed in between.

        Raises:
            SampanError: it cannot be mounted; nothing is left.
        """
        ...

    async def unmount(self, name: str, user: str) -> None:
        """``user`` is done with it. Idempotent: also for a mount that never came to its end, and
        for one that a reboot has undone."""
        ...

    async def path(self, name: str) -> str:
        """Where it is mounted now; empty: nowhere."""
        ...

    async def get(self, name: str) -> DriverVolume:
        """Raises NoSuchVolume."""
        ...

    async def list(self) -> Sequence[DriverVolume]:
        """All that the driver has, also those that others made."""
        ...


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
