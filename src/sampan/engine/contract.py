"""The engine's facade, as the API's routers see it: verbs on containers, in Docker's meaning.

References (``ref``) are names, ids or unique id prefixes. Everything returned is a record or a
frozen value; nothing here knows HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from sampan.errors import Conflict, InvalidArgument, NotFound, NotModified
from sampan.image.contract import Change, ImageConfig, ImageUser
from sampan.kernel.usage import Usage
from sampan.runtime.contract import AttachStream, ExitStatus, LogEntry, Stream
from sampan.store.events import EventBus
from sampan.store.records import (
    Container,
    ContainerSpec,
    EndpointSettings,
    Image,
    Network,
    Resources,
    RestartPolicy,
    Volume,
)
from sampan.volume.contract import VolumeListing

WaitCondition = Literal["not-running", "next-exit", "removed"]


class NoSuchContainer(NotFound):
    def __init__(self, ref: str) -> None:
        super().__init__(f"No such container: {ref}")
        self.ref = ref


class AmbiguousContainer(InvalidArgument):
    def __init__(self, ref: str) -> None:
        super().__init__(f"Multiple IDs found with provided prefix: {ref}")
        self.ref = ref


class NameTaken(Conflict):
    def __init__(self, name: str, holder: str) -> None:
        super().__init__(
            f'Conflict. The container name "/{name}" is already in use by container "{holder}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )
        self.name, self.holder = name, holder


class NotRunning(Conflict):
    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id} is not running")
        self.container_id = container_id


class AlreadyStarted(NotModified):
    """``start`` of a running container."""


class AlreadyStopped(NotModified):
    """``stop`` of a container that does not run."""


class NoSuchExec(NotFound):
    def __init__(self, exec_id: str) -> None:
        super().__init__(f"No such exec instance: {exec_id}")
        self.exec_id = exec_id


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRequest:
    """A container as the client asked for it, before the image's defaults are merged in."""

    spec: ContainerSpec
    """``args`` still empty; ``entrypoint``, ``cmd``, ``env``, ``user`` ... only what the client
    said; ``mounts`` from every spelling but the image's own VOLUMEs."""
    name: str = ""
    """Empty: one is made up."""
    image_id: str = ""
    """The image, where ``spec.image`` is only what to call it; empty: ``spec.image`` decides."""
    platform: str = ""
    networks: dict[str, EndpointSettings] = field(default_factory=dict)
    """By the name or id that the client used; ``network_id`` empty."""
    entrypoint_reset: bool = False
    """The client sent an entrypoint of [] or [""]: the image's does not count."""


@dataclass(frozen=True, slots=True)
class Created:
    id: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ExecState:
    """An exec, for inspect. Kept until its container is gone, or five minutes after its end."""

    id: str
    container_id: str
    args: tuple[str, ...]
    user: str
    tty: bool
    open_stdin: bool
    open_stdout: bool
    open_stderr: bool
    privileged: bool
    running: bool = False
    exit_code: int | None = None
    pid: int = 0
    detach_keys: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecRequest:
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    privileged: bool = False
    detach_keys: str = ""
    console_size: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRequest:
    follow: bool = False
    tail: int | None = None
    since_ns: int = 0
    until_ns: int = 0
    stdout: bool = True
    stderr: bool = True


@dataclass(frozen=True, slots=True)
class Process:
    """A row of ``top``: the values of the titles asked for."""

    values: tuple[str, ...]


class NoSuchPath(NotFound):
    def __init__(self, path: str, container: str) -> None:
        super().__init__(f"Could not find the file {path} in container {container}")
        self.path, self.container = path, container


@dataclass(frozen=True, slots=True)
class PathStat:
    """A path of a container; a link is described itself."""

    name: str
    size: int
    mode: int
    """``st_mode``."""
    mtime_ns: int
    link_target: str
    """Where a link leads, absolute and without further links; else empty."""


@dataclass(frozen=True, slots=True)
class InterfaceUsage:
    """Counters of a container's interface: bytes, packets, errors, drops."""

    name: str
    received: tuple[int, ...]
    sent: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a container had used at one moment."""

    id: str
    name: str
    time: float
    usage: Usage | None = None
    """None: it does not run."""
    system_ns: int = 0
    """Time of all processors of the host since boot, idle included."""
    cpus: int = 0
    memory_total: int = 0
    interfaces: tuple[InterfaceUsage, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitRequest:
    """An image to be made of a container."""

    configure: Callable[[ImageConfig], ImageConfig]
    """From the container's own settings to the image's; raises before anything is made."""
    render: Callable[[ImageConfig, str], dict[str, object]]
    """(config, diff ID of the new layer) -> the complete OCI config."""
    name: str = ""
    """Canonical reference to tag it with."""
    comment: str = ""
    pause: bool = True
    """Stop the processes while files are read."""


class Engine(Protocol):
    events: EventBus

    # -- containers: names and lists

    def get(self, ref: str) -> Container: ...
    def all(self) -> Sequence[Container]:
        """Newest first."""
        ...

    async def create(self, request: CreateRequest) -> Created:
        """Raises NoSuchImage, NameTaken, InvalidArgument, NoSuchNetwork ... On failure no mount,
        interface, rule, directory or row is left."""
        ...

    async def remove(
        self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None: ...
    async def rename(self, ref: str, name: str) -> None: ...
    async def update(
        self, ref: str, resources: Resources | None, restart: RestartPolicy | None
    ) -> tuple[str, ...]: ...
    async def prune(self, matches: Callable[[Container], bool]) -> tuple[list[str], int]:
        """Remove what does not run. Returns ids and bytes given back."""
        ...

    # -- containers: runs

    async def start(self, ref: str) -> None: ...
    async def stop(self, ref: str, *, timeout_s: int | None = None, signal: str = "") -> None:
        """``timeout_s``: None takes the container's own (10 if it has none), -1 waits forever."""
        ...

    async def restart(
        self, ref: str, *, timeout_s: int | None = None, signal: str = ""
    ) -> None: ...
    async def kill(self, ref: str, signal: str = "SIGKILL") -> None: ...
    async def pause(self, ref: str) -> None: ...
    async def unpause(self, ref: str) -> None: ...
    async def wait(self, ref: str, condition: WaitCondition = "not-running") -> ExitStatus:
        """The waiter is in place before this coroutine first suspends, so that a client can ask
        for ``next-exit`` and then start."""
        ...

    async def resize(self, ref: str, rows: int, columns: int) -> None: ...
    async def attach(self, ref: str) -> AttachStream:
        """Of a container that is not started yet too: the stream then begins with its next
        run's first byte (that is how ``docker run`` works)."""
        ...

    def logs(self, ref: str, request: LogRequest) -> AsyncIterator[list[LogEntry]]: ...

    def log_details(self, ref: str) -> bytes:
        """What ``logs --details`` shows before every line, ``name=value,...``; may be empty."""
        ...

    def log_path(self, ref: str) -> Path | None:
        """The file that the container's lines are in; None: they are not kept."""
        ...

    async def top(self, ref: str, ps_args: str) -> tuple[tuple[str, ...], list[Process]]: ...
    async def size(self, ref: str) -> tuple[int, int]:
        """(bytes written, bytes of the root file system)."""
        ...

    # -- files

    async def archive_stat(self, ref: str, path: str) -> PathStat: ...
    def archive_get(
        self, ref: str, path: str
    ) -> AbstractAsyncContextManager[tuple[PathStat, AsyncIterator[bytes]]]:
        """``path`` and all below it as a tar."""
        ...

    async def archive_put(
        self,
        ref: str,
        path: str,
        data: AsyncIterator[bytes],
        *,
        keep_kinds: bool = False,
        container_owner: bool = False,
    ) -> None:
        """Unpack a tar in the directory ``path``."""
        ...

    def export(self, ref: str) -> AsyncIterator[bytes]:
        """The root file system as a tar, without what is mounted in it."""
        ...

    async def changes(self, ref: str) -> list[Change]:
        """What it wrote, by path, against its image."""
        ...

    async def commit(self, ref: str, request: CommitRequest) -> Image: ...
    def stats(self, ref: str) -> AsyncIterator[Sample]:
        """A sample each second, the first at once; NoSuchContainer ends it."""
        ...

    # -- exec

    async def exec_create(self, ref: str, request: ExecRequest) -> str:
        """Returns the exec's id. Nothing runs yet.

        Raises:
            NoSuchContainer, NotRunning, Conflict (paused), NoSuchUser; InvalidArgument: no command.
        """
        ...

    async def exec_start(
        self, exec_id: str, *, console_size: tuple[int, int] = (0, 0)
    ) -> AttachStream:
        """Raises NoSuchExec, Conflict (already run), CommandNotFound (its state then has exit
        code 127) ..."""
        ...

    def exec_inspect(self, exec_id: str) -> ExecState: ...
    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None: ...

    # -- networks and volumes

    def network(self, ref: str) -> Network: ...
    def networks(self) -> Sequence[Network]: ...
    def network_users(self, network: Network) -> Mapping[str, EndpointSettings]:
        """Running containers' ids -> their endpoints on this network."""
        ...

    async def network_create(self, wanted: Network) -> Network: ...
    async def network_remove(self, ref: str) -> None: ...
    def names_on(self, ref: str, endpoint: EndpointSettings) -> tuple[str, ...]:
        """What a container is called on a user-defined network, its own name first."""
        ...

    async def network_connect(
        self, ref: str, container: str, endpoint: EndpointSettings
    ) -> None: ...
    async def network_disconnect(
        self, ref: str, container: str, *, force: bool = False
    ) -> None: ...

    def volume(self, name: str) -> Volume: ...
    def volumes(self) -> Sequence[Volume]: ...
    async def volume_listing(self) -> VolumeListing:
        """Also volumes of drivers that others have made; asks every plugin."""
        ...

    async def volume_look_up(self, name: str) -> Volume:
        """The same for one. Raises NoSuchVolume."""
        ...

    def volume_scope(self, volume: Volume) -> Literal["local", "global"]:
        """Whether a volume of that name is the same on every host that has its driver."""
        ...

    def volume_is_engine_owned(self, volume: Volume) -> bool:
        """False: it is its driver's, and may be far away, or the whole host."""
        ...

    async def volume_status(self, volume: Volume) -> Mapping[str, object]:
        """What its driver has to say of it, whatever that is. Asks a plugin, which may take time.

        Raises:
            SampanError: the driver does not answer.
        """
        ...

    def volume_users(self, name: str) -> Sequence[str]:
        """Ids of the containers that name it, running or not."""
        ...

    async def volume_create(
        self, name: str, driver: str, options: dict[str, str], labels: dict[str, str]
    ) -> Volume: ...
    async def volume_remove(self, name: str, *, force: bool = False) -> None: ...

    def image_user(self, image_id: str) -> ImageUser | None:
        """A container of that image, a running one first; None: there is none."""
        ...


__all__ = [
    "AlreadyStarted",
    "AlreadyStopped",
    "AmbiguousContainer",
    "CommitRequest",
    "CreateRequest",
    "Created",
    "Engine",
    "ExecRequest",
    "ExecState",
    "InterfaceUsage",
    "LogRequest",
    "NameTaken",
    "NoSuchContainer",
    "NoSuchExec",
    "NoSuchPath",
    "NotRunning",
    "PathStat",
    "Process",
    "Sample",
    "Stream",
    "WaitCondition",
]
