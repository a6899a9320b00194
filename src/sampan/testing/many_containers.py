"""``Engine`` over many: see ``sampan.testing.many_engines``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal

from msgspec.structs import replace

from sampan.engine.contract import (
    CommitRequest,
    Created,
    CreateRequest,
    Engine,
    ExecRequest,
    ExecState,
    LogRequest,
    NameTaken,
    NoSuchContainer,
    NoSuchExec,
    PathStat,
    Process,
    Sample,
    WaitCondition,
)
from sampan.errors import Conflict, NotFound
from sampan.image.contract import (
    Change,
    ImageUser,
)
from sampan.runtime.contract import AttachStream, ExitStatus, LogEntry
from sampan.store.events import EventBus
from sampan.store.records import (
    Container,
    EndpointSettings,
    Image,
    Network,
    Resources,
    RestartPolicy,
    Volume,
)
from sampan.volume.contract import VolumeListing


class ManyContainers:
    """``Engine`` over many. Everything about one container goes to the engine that has it."""

    def __init__(self, nodes: Mapping[str, Engine], events: EventBus) -> None:
        self.nodes = nodes
        self.events = events

    # -- who has it

    def _find(self, ref: str) -> tuple[str, Engine, str]:
        """Node, engine and the reference that the engine knows, of ``node/name`` or an id.

        Raises:
            NoSuchContainer, Conflict (several nodes have it).
        """
        node, slash, name = ref.lstrip("/").partition("/")
        if slash and node in self.nodes:
            return node, self.nodes[node], name
        found = [one for one, engine in self.nodes.items() if has(lambda e=engine: e.get(ref))]  # type: ignore[misc]
        if not found:
            raise NoSuchContainer(ref)
        if len(found) > 1:
            raise Conflict(f"{ref} is on {' and '.join(found)}: write NODE/{ref}")
        return found[0], self.nodes[found[0]], ref

    def _of(self, ref: str) -> tuple[Engine, str]:
        _, engine, known = self._find(ref)
        return engine, known

    def _of_exec(self, exec_id: str) -> Engine:
        for engine in self.nodes.values():
            if has(lambda e=engine: e.exec_inspect(exec_id)):  # type: ignore[misc]
                return engine
        raise NoSuchExec(exec_id)

    def _with_network(self, ref: str) -> Engine:
        for engine in self.nodes.values():
            if has(lambda e=engine: e.network(ref)):  # type: ignore[misc]
                return engine
        return self._idlest()

    def _with_volume(self, name: str) -> Engine:
        for engine in self.nodes.values():
            if has(lambda e=engine: e.volume(name)):  # type: ignore[misc]
                return engine
        return self._idlest()

    def _idlest(self) -> Engine:
        return min(self.nodes.values(), key=lambda engine: len(engine.all()))

    # -- containers

    def get(self, ref: str) -> Container:
        node, engine, known = self._find(ref)
        return _named(node, engine.get(known))

    def all(self) -> Sequence[Container]:
        found = [_named(node, one) for node, engine in self.nodes.items() for one in engine.all()]
        return sorted(found, key=lambda one: one.created_at, reverse=True)

    async def create(self, request: CreateRequest) -> Created:
        for engine in self.nodes.values():
            if request.name and has(lambda e=engine: e.get(request.name)):  # type: ignore[misc]
                raise NameTaken(request.name, engine.get(request.name).id)
        return await self._idlest().create(request)

    async def remove(
        self, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False
    ) -> None:
        engine, known = self._of(ref)
        await engine.remove(known, force=force, volumes=volumes, link=link)

    async def rename(self, ref: str, name: str) -> None:
        engine, known = self._of(ref)
        await engine.rename(known, name)

    async def update(
        self, ref: str, resources: Resources | None, restart: RestartPolicy | None
    ) -> tuple[str, ...]:
        engine, known = self._of(ref)
        return await engine.update(known, resources, restart)

    async def prune(self, matches: Callable[[Container], bool]) -> tuple[list[str], int]:
        gone: list[str] = []
        reclaimed = 0
        for engine in self.nodes.values():
            ids, given_back = await engine.prune(matches)
            gone, reclaimed = gone + ids, reclaimed + given_back
        return gone, reclaimed

    async def start(self, ref: str) -> None:
        engine, known = self._of(ref)
        await engine.start(known)

    async def stop(self, ref: str, *, timeout_s: int | None = None, signal: str = "") -> None:
        engine, known = self._of(ref)
        await engine.stop(known, timeout_s=timeout_s, signal=signal)

    async def restart(self, ref: str, *, timeout_s: int | None = None, signal: str = "") -> None:
        engine, known = self._of(ref)
        await engine.restart(known, timeout_s=timeout_s, signal=signal)

    async def kill(self, ref: str, signal: str = "SIGKILL") -> None:
        engine, known = self._of(ref)
        await engine.kill(known, signal)

    async def pause(self, ref: str) -> None:
        engine, known = self._of(ref)
        await engine.pause(known)

    async def unpause(self, ref: str) -> None:
        engine, known = self._of(ref)
        await engine.unpause(known)

    async def wait(self, ref: str, condition: WaitCondition = "not-running") -> ExitStatus:
        engine, known = self._of(ref)
        return await engine.wait(known, condition)

    async def resize(self, ref: str, rows: int, columns: int) -> None:
        engine, known = self._of(ref)
        await engine.resize(known, rows, columns)

    async def attach(self, ref: str) -> AttachStream:
        engine, known = self._of(ref)
        return await engine.attach(known)

    def logs(self, ref: str, request: LogRequest) -> AsyncIterator[list[LogEntry]]:
        engine, known = self._of(ref)
        return engine.logs(known, request)

    def log_details(self, ref: str) -> bytes:
        engine, known = self._of(ref)
        return engine.log_details(known)

    def log_path(self, ref: str) -> Path | None:
        engine, known = self._of(ref)
        return engine.log_path(known)

    async def top(self, ref: str, ps_args: str) -> tuple[tuple[str, ...], list[Process]]:
        engine, known = self._of(ref)
        return await engine.top(known, ps_args)

    async def size(self, ref: str) -> tuple[int, int]:
        engine, known = self._of(ref)
        return await engine.size(known)

    # -- files

    async def archive_stat(self, ref: str, path: str) -> PathStat:
        engine, known = self._of(ref)
        return await engine.archive_stat(known, path)

    def archive_get(
        self, ref: str, path: str
    ) -> AbstractAsyncContextManager[tuple[PathStat, AsyncIterator[bytes]]]:
        engine, known = self._of(ref)
        return engine.archive_get(known, path)

    async def archive_put(
        self,
        ref: str,
        path: str,
        data: AsyncIterator[bytes],
        *,
        keep_kinds: bool = False,
        container_owner: bool = False,
    ) -> None:
        engine, known = self._of(ref)
        await engine.archive_put(
            known, path, data, keep_kinds=keep_kinds, container_owner=container_owner
        )

    def export(self, ref: str) -> AsyncIterator[bytes]:
        engine, known = self._of(ref)
        return engine.export(known)

    async def changes(self, ref: str) -> list[Change]:
        engine, known = self._of(ref)
        return await engine.changes(known)

    async def commit(self, ref: str, request: CommitRequest) -> Image:
        engine, known = self._of(ref)
        return await engine.commit(known, request)

    def stats(self, ref: str) -> AsyncIterator[Sample]:
        engine, known = self._of(ref)
        return engine.stats(known)

    # -- exec

    async def exec_create(self, ref: str, request: ExecRequest) -> str:
        engine, known = self._of(ref)
        return await engine.exec_create(known, request)

    async def exec_start(
        self, exec_id: str, *, console_size: tuple[int, int] = (0, 0)
    ) -> AttachStream:
        return await self._of_exec(exec_id).exec_start(exec_id, console_size=console_size)

    def exec_inspect(self, exec_id: str) -> ExecState:
        return self._of_exec(exec_id).exec_inspect(exec_id)

    async def exec_resize(self, exec_id: str, rows: int, columns: int) -> None:
        await self._of_exec(exec_id).exec_resize(exec_id, rows, columns)

    # -- networks and volumes

    def network(self, ref: str) -> Network:
        return self._with_network(ref).network(ref)

    def networks(self) -> Sequence[Network]:
        return [one for engine in self.nodes.values() for one in engine.networks()]

    def network_users(self, network: Network) -> Mapping[str, EndpointSettings]:
        return self._with_network(network.id).network_users(network)

    async def network_create(self, wanted: Network) -> Network:
        return await self._idlest().network_create(wanted)

    async def network_remove(self, ref: str) -> None:
        await self._with_network(ref).network_remove(ref)

    def names_on(self, ref: str, endpoint: EndpointSettings) -> tuple[str, ...]:
        engine, known = self._of(ref)
        return engine.names_on(known, endpoint)

    async def network_connect(self, ref: str, container: str, endpoint: EndpointSettings) -> None:
        engine, known = self._of(container)
        await engine.network_connect(ref, known, endpoint)

    async def network_disconnect(self, ref: str, container: str, *, force: bool = False) -> None:
        engine, known = self._of(container)
        await engine.network_disconnect(ref, known, force=force)

    def volume(self, name: str) -> Volume:
        return self._with_volume(name).volume(name)

    def volumes(self) -> Sequence[Volume]:
        return [one for engine in self.nodes.values() for one in engine.volumes()]

    async def volume_listing(self) -> VolumeListing:
        told = [await engine.volume_listing() for engine in self.nodes.values()]
        return VolumeListing(
            [volume for one in told for volume in one.volumes],
            [warning for one in told for warning in one.warnings],
        )

    async def volume_look_up(self, name: str) -> Volume:
        return await self._with_volume(name).volume_look_up(name)

    def volume_scope(self, volume: Volume) -> Literal["local", "global"]:
        return self._with_volume(volume.name).volume_scope(volume)

    def volume_is_engine_owned(self, volume: Volume) -> bool:
        return self._with_volume(volume.name).volume_is_engine_owned(volume)

    async def volume_status(self, volume: Volume) -> Mapping[str, object]:
        return await self._with_volume(volume.name).volume_status(volume)

    def volume_users(self, name: str) -> Sequence[str]:
        return [one for engine in self.nodes.values() for one in engine.volume_users(name)]

    async def volume_create(
        self, name: str, driver: str, options: dict[str, str], labels: dict[str, str]
    ) -> Volume:
        return await self._with_volume(name).volume_create(name, driver, options, labels)

    async def volume_remove(self, name: str, *, force: bool = False) -> None:
        await self._with_volume(name).volume_remove(name, force=force)

    def image_user(self, image_id: str) -> ImageUser | None:
        found = [engine.image_user(image_id) for engine in self.nodes.values()]
        users = [one for one in found if one is not None]
        return next((one for one in users if one.running), users[0] if users else None)


def _named(node: str, container: Container) -> Container:
    return replace(container, name=f"{node}/{container.name}")


def has(look: Callable[[], object]) -> bool:
    """Whether what ``look`` looks at is there."""
    try:
        look()
    except NotFound:
        return False
    return True
