"""``create``: everything that can be wrong is found here, and a container that exists can start.

Order, and why:

    merge, validate      pure: most mistakes cost nothing
    name                 reserved in memory: of two at once, one is told so before anything is made
    volumes, sources     may fail on the user's data
    writable layer       the only thing that costs disk
    seed volumes         needs the layer mounted
    row                  last: from here on the container exists, also after a crash. A crash before
                         leaves a layer and a directory without a row, swept at the next start
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
from contextlib import AsyncExitStack

import msgspec

from sampan.aio import in_thread
from sampan.engine.cluster_networks import asks
from sampan.engine.container_index import ContainerIndex
from sampan.engine.container_names import checked_name, made_up_name
from sampan.engine.contract import Created, CreateRequest
from sampan.engine.networking import modes
from sampan.engine.networking.modes import find_anywhere
from sampan.engine.observe.emit_events import EventEmitter
from sampan.engine.observe.logs import with_default
from sampan.engine.parts import Parts
from sampan.engine.spec.defaults import merged, with_daemons_defaults
from sampan.engine.spec.validate import validate, warnings_of
from sampan.engine.spec.validate_platform import check_platform, foreign_platform
from sampan.engine.volumes.mounts import Mounts
from sampan.errors import InvalidArgument, NotFound
from sampan.image.config import chain_id
from sampan.image.contract import ImageConfig, NoSuchImage
from sampan.store.records import Container, ContainerSpec, HostConfig, Image


class Creator:
    def __init__(
        self, parts: Parts, containers: ContainerIndex, emit: EventEmitter, mounts: Mounts
    ) -> None:
        self._parts, self._containers = parts, containers
        self._emit, self._mounts = emit, mounts

    async def create(self, request: CreateRequest) -> Created:
        """See ``Engine.create``; whatever is missing but the image is an InvalidArgument."""
        parts = self._parts
        image = parts.images.get(request.image_id or request.spec.image)
        config = parts.images.config(image)
        check_platform(request.spec.image, config, request.platform)
        try:
            return await self._create(request, image, config)
        except NotFound as error:
            if isinstance(error, NoSuchImage):
                raise
            # Clients take "not found" for a missing image here, pull it and try again.
            raise InvalidArgument(str(error)) from error

    async def _create(self, request: CreateRequest, image: Image, config: ImageConfig) -> Created:
        parts = self._parts
        container_id = secrets.token_hex(32)
        spec = await self._with_drivers(self._specify(request, config, container_id))
        known = {
            ref: await find_anywhere(
                parts.store, parts.cluster, ref, allocated=_allocated(request, ref)
            )
            for ref in modes.networks_named(spec.host, request.networks)
        }
        networks = modes.endpoints_of(spec.host, request.networks, known)
        self._check_links(spec.host)
        async with AsyncExitStack() as undo:
            name = (
                checked_name(request.name)
                if request.name
                else made_up_name(self._containers.name_taken)
            )
            self._containers.reserve(name, container_id)
            undo.callback(self._containers.release, name)
            resolved = await self._mounts.resolve(spec, undo)
            container = Container(
                id=container_id,
                name=name,
                created_at=parts.clock.now(),
                image_id=image.id,
                spec=msgspec.structs.replace(spec, mounts=resolved.mounts),
                mount_points=resolved.points,
                networks=networks,
            )
            # Pushed before: a prepare that fails half-way is undone as well.
            undo.push_async_callback(parts.snapshots.remove, container_id)
            await parts.snapshots.prepare(container_id, chain_id(config.diff_ids))
            directory = parts.config.paths.container(container_id)
            undo.push_async_callback(in_thread, shutil.rmtree, directory, ignore_errors=True)
            await in_thread(directory.mkdir, parents=True, mode=0o710)
            await self._mounts.seed(container)
            # The image, a network or the namespace's owner may have gone while we were busy; from
            # here to the row nothing suspends, and the row itself keeps them.
            parts.images.get(image.id)
            for endpoint in networks.values():
                if not asks(endpoint):
                    modes.find_network(parts.store, endpoint.network_id)
            self._containers.add(container)
            undo.pop_all()
        for volume in resolved.made:
            self._emit.volume("create", volume)
        self._emit.container("create", container)
        warnings = (*warnings_of(spec), *foreign_platform(config, request.platform))
        return Created(container_id, warnings)

    def _specify(
        self, request: CreateRequest, image: ImageConfig, container_id: str
    ) -> ContainerSpec:
        spec = merged(request, image)
        validate(spec, self._parts.config)
        host = modes.normal_mode(spec.host, self._containers)
        host = with_daemons_defaults(host, self._parts.config)
        if spec.network_disabled and host.network_mode in ("", "default"):
            host = msgspec.structs.replace(host, network_mode="none")
        hostname = spec.hostname
        kind = modes.kind_of(host)
        if kind == "container" and hostname:
            raise InvalidArgument("conflicting options: hostname and the network mode")
        if not hostname and kind != "container":
            uses_hosts_name = kind == "host" or host.uts_mode == "host"
            hostname = socket.gethostname() if uses_hosts_name else container_id[:12]
        return msgspec.structs.replace(
            spec,
            host=host,
            hostname=hostname,
            mounts=tuple(sorted(spec.mounts, key=lambda m: os.path.normpath(m.target).count("/"))),
        )

    async def _with_drivers(self, spec: ContainerSpec) -> ContainerSpec:
        """Every driver that the container names is there, and understands its options."""
        parts, host = self._parts, spec.host
        await parts.drivers.runtime.find(host.runtime)
        log_config = with_default(host.log_config, parts.config)
        driver = await parts.drivers.log.find(log_config.type)
        driver.validate(log_config.options)
        return msgspec.structs.replace(
            spec, host=msgspec.structs.replace(host, log_config=log_config)
        )

    def _check_links(self, host: HostConfig) -> None:
        for link in host.links:
            self._containers.get(link.partition(":")[0])


def _allocated(request: CreateRequest, ref: str) -> bool:
    """The cluster makes this container, and has a place for it on that network."""
    settings = request.networks.get(ref)
    return settings is not None and settings.cluster == "allocated"
