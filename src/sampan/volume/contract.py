"""Named directories that outlive containers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from sampan.errors import Conflict, NotFound
from sampan.store.records import Volume

LISTED_WITHIN_S = 5.0


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
        super().__init__(
            f'error looking up volume plugin {driver}: plugin "{driver}" not found: see the volume '
            "drivers that `sampan info` lists, or start the plugin of that name"
        )
        self.driver = driver


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeCapabilities:
    """What a driver does. Asked instead of its name."""

    scope: Literal["local", "global"] = "local"
    """``global``: a volume of that name is the same on every host that has the driver."""
    engine_owned: bool = False
    """Volumes are the engine's own, and exist as long as their records do: one without options is
    a directory that is always there, so that nobody keeps a record of who mounts it; a removal
    begins with the record, and destroys nothing before the disk has it that the record is gone.
    False: volumes are somebody else's, who may refuse, take his time, and have others of them."""


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


@dataclass(frozen=True, slots=True)
class VolumeListing:
    """Every volume, also those that a driver has and this engine has no record of."""

    volumes: Sequence[Volume]
    warnings: Sequence[str]
    """A sentence for each driver that could not be asked."""


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
        """Nobody has it mounted. Idempotent.

        Raises:
            SampanError, OSError: it cannot be removed now; the record stays.
        """
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

    async def recover(self, names: frozenset[str]) -> None:
        """The daemon starts, and has records of ``names``: finish or remove what a crash has
        interrupted. Not called for a driver that is only found later."""
        ...


class Volumes(Protocol):
    """What the engine asks: volumes by name, whatever their drivers. A driver that waits holds up
    only who asks for that volume."""

    async def create(
        self,
        name: str,
        *,
        driver: str = "",
        options: dict[str, str] | None = None,
        labels: dict[str, str] | None = None,
        anonymous: bool = False,
        provisional: bool = False,
    ) -> Volume:
        """The volume of that name, made when it does not exist (empty ``name``: 64 random hex
        digits). No ``driver``: the default one, or the existing volume's. ``provisional``: for a
        container that is being made, as the answer says if it was made by this call; whoever asks
        for it as the second makes it stay.

        Raises:
            NoSuchDriver; Conflict: it exists with another driver; InvalidArgument.
        """
        ...

    def get(self, name: str) -> Volume: ...
    def all(self) -> list[Volume]:
        """Those that there are records of."""
        ...

    async def listing(self) -> VolumeListing:
        """The same and what drivers have besides, made by others. Plugins that do not answer within
        ``LISTED_WITHIN_S`` are among the warnings."""
        ...

    async def look_up(self, name: str) -> Volume:
        """The volume, of this engine or of a driver.

        Raises:
            NoSuchVolume.
        """
        ...

    def scope(self, volume: Volume) -> Literal["local", "global"]:
        """Its driver's; ``local`` as long as the driver was not found."""
        ...

    def is_engine_owned(self, name: str) -> bool:
        """See ``VolumeCapabilities``. False: what is asked of it may take its time."""
        ...

    async def status(self, volume: Volume) -> Mapping[str, object]:
        """What its driver wants to be shown of it; nothing for the engine's own volumes.

        Raises:
            NoSuchDriver, NoSuchVolume: the driver, or the volume there, is gone.
            SampanError: it does not answer.
        """
        ...

    async def mount(self, name: str, user: str) -> Path:
        """The directory for a container. ``user`` is the container's id, or another word for who
        mounts it; recorded before it is done, so that the daemon after a crash can undo it."""
        ...

    async def unmount(self, name: str, user: str) -> None:
        """Undo one user's ``mount``. Idempotent; nothing for a volume that is gone."""
        ...

    async def seed(self, name: str, source: Path) -> None:
        """Copy what the image has at the target (``source`` in the mounted snapshot) into an
        empty, never seeded volume: contents, owner, mode, xattrs. Nothing when it has content. It
        is mounted by the caller."""
        ...

    async def remove(self, name: str) -> None:
        """Also one that only a driver has. The caller has made sure that no container uses it.

        Raises:
            NoSuchVolume.
        """
        ...

    async def recover(self, alive: frozenset[str] = frozenset()) -> None:
        """At the daemon's start: finish what a crash interrupted, unmount what users other than
        ``alive`` had mounted, remove what was made for containers that never came to be. What a
        plugin has to do for that is done beside, when it answers."""
        ...

    async def close(self) -> None:
        """The daemon stops; what it does beside is given up until the next start."""
        ...
