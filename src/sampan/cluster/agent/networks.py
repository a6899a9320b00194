"""The cluster's networks on this host: made for the first task on them, gone with the last."""

from __future__ import annotations

import logging

from sampan.aio import KeyedLocks
from sampan.cluster.agent.contract import Supplies
from sampan.cluster.records import ClusterNetwork, TaskAttachment
from sampan.cluster.spec import VNI_OPTION
from sampan.engine.cluster_networks import asks
from sampan.engine.contract import Engine
from sampan.errors import Conflict, NotFound, SampanError, Unavailable
from sampan.network.contract import CLUSTER_DRIVER
from sampan.store.records import Container, IpamPool, Network, Phase

log = logging.getLogger(__name__)


class NodeNetworks:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks = KeyedLocks()

    async def ensure(self, attachments: tuple[TaskAttachment, ...], supplies: Supplies) -> None:
        """Every network that the attachments name exists here.

        Raises:
            Unavailable: its record has not come yet.
            Conflict: a network of this host alone has its name.
        """
        for attachment in attachments:
            async with self._locks.hold(attachment.network_id):
                if self._has(attachment.network_id):
                    continue
                record = supplies.networks.get(attachment.network_id)
                if record is None or not record.vni:
                    raise Unavailable(f"network {attachment.network_id} is not known here yet")
                await self._make_way(record, supplies)
                try:
                    await self._engine.network_create(network_of(record))
                except Conflict as error:
                    if not self._has(record.id):
                        raise Conflict(
                            f"{error}: this host has a network of its own of that name; remove it, "
                            "or give the cluster's network another name"
                        ) from error

    async def _make_way(self, record: ClusterNetwork, supplies: Supplies) -> None:
        """A network was removed and made again under its name: what is here of the first one goes,
        as soon as its last container has ended.

        Raises:
            Unavailable: not yet.
        """
        if not self._was(record):
            return
        await self.tidy(supplies)
        if self._was(record):
            raise Unavailable(
                f"the network that was called {record.name} before is still in use on this host"
            )

    def _was(self, record: ClusterNetwork) -> bool:
        return any(
            network.name == record.name and network.scope == "swarm" and network.id != record.id
            for network in self._engine.networks()
        )

    async def tidy(self, supplies: Supplies) -> None:
        """Remove what no task here needs and no container is on."""
        for network in list(self._engine.networks()):
            if network.scope != "swarm" or network.id in supplies.networks:
                continue
            async with self._locks.hold(network.id):
                # Asked again: a task may have come while others were taken away.
                if network.id in supplies.networks or self._used(network.id):
                    continue
                try:
                    await self._engine.network_remove(network.id)
                except NotFound:
                    continue
                except SampanError as error:
                    log.warning("network %s stays on this host for now: %s", network.name, error)

    def _has(self, network_id: str) -> bool:
        return any(network.id == network_id for network in self._engine.networks())

    def _used(self, network_id: str) -> bool:
        # A stopped container that was put there by hand asks again when it is started.
        return any(
            endpoint.network_id == network_id and (_active(container) or not asks(endpoint))
            for container in self._engine.all()
            for endpoint in container.networks.values()
        )


def _active(container: Container) -> bool:
    return container.run is not None and container.run.phase in (Phase.STARTING, Phase.RUNNING)


def network_of(record: ClusterNetwork) -> Network:
    """The engine's record of a network of the cluster."""
    spec = record.spec
    return Network(
        id=record.id,
        name=spec.name,
        driver=spec.driver or CLUSTER_DRIVER,
        created_at=record.created_at,
        scope="swarm",
        internal=spec.internal,
        attachable=spec.attachable,
        ingress=spec.ingress,
        pools=(IpamPool(subnet=record.subnet, gateway=record.gateway.partition("/")[0]),),
        options={**spec.options, VNI_OPTION: str(record.vni)},
        labels=spec.labels,
    )
