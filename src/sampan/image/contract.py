"""What the engine and the builder ask of images: find, pull, unpack, mount, save.

reference ──> manifest ──> config (the image's id is its digest) + layer blobs
diff ID   digest of one unpacked layer tar         chain ID   identifies a stack of layers
snapshot  a stack of layers + one writable directory, mountable as a root file system
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from sampan.errors import Conflict, InvalidArgument, NotFound, Unavailable
from sampan.store.records import Image


class NoSuchImage(NotFound):
    def __init__(self, ref: str) -> None:
        super().__init__(f"No such image: {ref}")
        self.ref = ref


class BadReference(InvalidArgument):
    """Not a valid image reference."""


class ImageInUse(Conflict):
    """A container or another image needs it."""


class BadLayer(InvalidArgument):
    """A layer's bytes are not what its digest says, or not a layer at all."""

    diff_id = ""
    """Which one, where a pull knows."""


class RegistryFailed(Unavailable):
    """The registry hung up, timed out or made no sense."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed image reference. ``parse`` is in ``sampan.image.reference``."""

    registry: str
    """``docker.io`` when none was given."""
    repository: str
    """``library/busybox``."""
    tag: str = ""
    digest: str = ""

    @property
    def canonical(self) -> str:
        """``docker.io/library/busybox:latest``, or ``...@sha256:...``."""
        base = f"{self.registry}/{self.repository}"
        return f"{base}@{self.digest}" if self.digest else f"{base}:{self.tag}"

    @property
    def familiar(self) -> str:
        """As people write it: ``busybox:latest``."""
        base = self.repository
        if self.registry != "docker.io":
            base = f"{self.registry}/{base}"
        elif base.startswith("library/"):
            base = base.removeprefix("library/")
        return f"{base}@{self.digest}" if self.digest else f"{base}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Credentials:
    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of progress, as Docker's JSON streams know them."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


Report = Callable[[Progress], None]
"""Called on the event loop; must not block."""


@dataclass(frozen=True, slots=True)
class ImageUser:
    """Who needs an image."""

    container_id: str
    """Empty: a build that is under way."""
    running: bool

    @property
    def short(self) -> str:
        """As errors name it: "container 1a2b3c4d5e6f", or "a build"."""
        return f"container {self.container_id[:12]}" if self.container_id else "a build"


InUse = Callable[[str], ImageUser | None]
"""Who needs the image of that id; None: nobody. Of several, one that runs."""


class Platform(msgspec.Struct, frozen=True):
    """What an image runs on, in the words of manifests."""

    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Described:
    """A name, as its registry explains it."""

    media_type: str
    digest: str
    size: int
    """Bytes of the manifest."""
    platforms: tuple[Platform, ...]


@dataclass(frozen=True, slots=True)
class Removed:
    untagged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """The parts of an OCI image config that containers inherit. ``parse_config`` makes it."""

    architecture: str = ""
    os: str = "linux"
    variant: str = ""
    author: str = ""
    created: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    user: str = ""
    working_dir: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    stop_signal: str = ""
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] | None = None
    healthcheck: dict[str, object] | None = None
    """As in the config: Test, Interval (ns), Timeout, StartPeriod, Retries."""
    history: tuple[dict[str, object], ...] = ()
    diff_ids: tuple[str, ...] = ()


class Images(Protocol):
    """The local image store."""

    def get(self, ref: str) -> Image:
        """By reference, id, or unique id prefix. Raises NoSuchImage, BadReference, Conflict
        (ambiguous prefix)."""
        ...

    def config(self, image: Image) -> ImageConfig: ...
    def all(self) -> list[Image]: ...
    def tags(self, image_id: str) -> list[str]:
        """Familiar names ("busybox:latest")."""
        ...

    def digests(self, image_id: str) -> list[str]:
        """Familiar names ("busybox@sha256:...")."""
        ...

    async def pull(
        self,
        ref: str,
        *,
        credentials: Credentials | None = None,
        platform: str = "",
        report: Report = lambda _: None,
    ) -> Image:
        """Fetch from the registry. A failure leaves neither blob nor layer nor row behind, other
        than whole layers that a later pull can use (swept at the next start)."""
        ...

    async def load(
        self, archive: AsyncIterator[bytes], *, report: Report = lambda _: None
    ) -> Sequence[str]:
        """A ``docker save`` or OCI layout tar, compressed or not. Returns the names or ids."""
        ...

    def save(self, refs: Sequence[str]) -> AsyncIterator[bytes]:
        """A tar that is both a ``docker save`` archive and an OCI layout."""
        ...

    async def import_rootfs(
        self,
        archive: AsyncIterator[bytes],
        *,
        ref: str = "",
        message: str = "",
        config: dict[str, object] | None = None,
        platform: str = "",
    ) -> Image:
        """An image of one layer from a root file system's tar (``docker import``)."""
        ...

    async def create(
        self,
        *,
        config: dict[str, object],
        layers: Sequence[str],
        parent: str = "",
        comment: str = "",
    ) -> Image:
        """An image from a complete OCI config (``rootfs`` and ``history`` included) whose chain
        of layers is already here. The builder's last step."""
        ...

    def tag(self, image_id: str, ref: str) -> None: ...

    async def remove(
        self,
        ref: str,
        *,
        force: bool = False,
        prune_parents: bool = True,
        in_use: InUse,
    ) -> Removed:
        """Raises NoSuchImage, ImageInUse: the sentence says who needs it, and what would help."""
        ...

    async def push(
        self, ref: str, *, credentials: Credentials | None = None, report: Report = lambda _: None
    ) -> str:
        """Send the image called ``ref`` to its registry. Returns the manifest's digest.

        Raises:
            NoSuchImage, Forbidden, RegistryFailed
        """
        ...

    async def login(self, server: str, credentials: Credentials | None) -> None:
        """Whether the registry ``server`` (as a user writes it) accepts them.

        Raises:
            Unauthorized: it does not.
            RegistryFailed: it cannot be reached.
        """
        ...

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        """What ``reference`` is in its registry. Nothing is kept of it.

        Raises:
            NotFound (also when access is denied), RegistryFailed
        """
        ...

    def layer_sizes(self, image: Image) -> list[int]:
        """Bytes of each of its layers, lowest first."""
        ...

    def disk_usage(self) -> int:
        """Bytes of all layers, each once."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """One path that a snapshot's writable part says something about."""

    kind: Literal["modified", "added", "deleted"]
    path: str


class Snapshots(Protocol):
    """Writable file systems over images. Keys are container ids or build steps.

    prepare -> mount -> unmount -> remove; commit turns the writable part into a layer.
    """

    async def prepare(self, key: str, chain_id: str) -> None:
        """Make the writable directory over the stack ``chain_id`` ("": empty). Durable."""
        ...

    async def mount(self, key: str) -> Path:
        """Mount it (idempotent) and return the root. Survives the daemon."""
        ...

    async def unmount(self, key: str) -> None:
        """Idempotent."""
        ...

    async def remove(self, key: str) -> None:
        """Unmount and delete. Idempotent."""
        ...

    async def commit(self, key: str, *, comment: str = "") -> tuple[str, str]:
        """What was written becomes a read-only layer over the snapshot's parent. The snapshot
        is consumed. Returns (chain ID, diff ID)."""
        ...

    async def diff(self, key: str) -> AsyncIterator[bytes]:
        """The writable part as a layer tar, whiteouts as in the OCI image specification."""
        ...

    async def size(self, key: str) -> int:
        """Bytes in the writable part."""
        ...

    async def changes(self, key: str, skip: frozenset[str] = frozenset()) -> list[Change]:
        """What the writable part says, sorted by path. ``skip``: absolute paths that do not
        count when they were added and are empty (mount points)."""
        ...

    async def layer(self, key: str, skip: frozenset[str] = frozenset()) -> tuple[str, str]:
        """A copy of what was written becomes a read-only layer over the snapshot's parent; the
        snapshot stays as it is. Returns (chain ID, diff ID)."""
        ...

    async def keys(self) -> list[str]: ...

    @property
    def driver(self) -> str:
        """``overlay2`` or ``vfs``."""
        ...
