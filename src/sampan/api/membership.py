"""The daemon's membership in a cluster, put together from its other parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from sampan.aio import Clock
from sampan.cluster.agent.attachments import ClusterAttachments
from sampan.cluster.agent.executor import EngineExecutor
from sampan.cluster.images.images import ClusterImages
from sampan.cluster.node.addresses import of_this_host
from sampan.cluster.node.host import Host, NodeFacts
from sampan.cluster.node.membership import HostMembership, open_membership
from sampan.config import DaemonConfig
from sampan.engine.contract import Engine
from sampan.engine.drivers import Drivers
from sampan.kernel.linux import Linux
from sampan.network.overlay.contract import Overlay


def membership(
    config: DaemonConfig,
    *,
    engine: Engine,
    overlay: Overlay,
    images: ClusterImages,
    attachments: ClusterAttachments,
    linux: Linux,
    durable: Callable[[], Awaitable[None]],
    drivers: Drivers,
    clock: Clock,
) -> AbstractAsyncContextManager[HostMembership]:
    """Open what ``<root>/cluster`` says this host is a member of."""

    def executor(facts: NodeFacts) -> EngineExecutor:
        return EngineExecutor(
            engine,
            images,
            config,
            clock,
            linux=linux,
            durable=durable,
            root_certificate=facts.root_certificate,
            plugins=drivers.plugins,
        )

    host = Host(
        directory=config.paths.root / "cluster",
        clock=clock,
        overlay=overlay,
        executor=executor,
        images=images,
        attachments=attachments,
        events=engine.events,
        addresses=lambda: of_this_host(linux, config.instance.made),
    )
    return open_membership(host)
