"""Every route of the API, one module a resource."""

from __future__ import annotations

from collections.abc import Iterator

from sampan.api.docker_request import DockerRequest
from sampan.http.router import Route


def every() -> Iterator[Route[DockerRequest]]:
    """All routes. The order counts only where two patterns match the same path."""
    from sampan.api.routes import (
        archive,
        attach,
        build,
        commit,
        containers,
        distribution,
        execs,
        images,
        lifecycle,
        networks,
        nodes,
        plugins,
        services,
        stats,
        stored,
        swarm,
        system,
        task_logs,
        tasks,
        transfer,
        volumes,
    )

    for module in (
        system,
        containers,
        lifecycle,
        archive,
        commit,
        stats,
        attach,
        execs,
        transfer,
        images,
        networks,
        volumes,
        build,
        distribution,
        swarm,
        nodes,
        services,
        tasks,
        task_logs,
        stored,
        plugins,
    ):
        yield from module.ROUTES


__all__ = ["Route", "every"]
