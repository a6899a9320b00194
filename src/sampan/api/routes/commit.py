"""An image made of a container."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from aiohttp import web
from msgspec import UnsetType

from sampan.api.docker_request import DockerRequest
from sampan.api.types.common import IdResponse
from sampan.api.types.containers import ContainerConfig
from sampan.build.changes import changed
from sampan.build.state import render, split_env, with_env, with_history
from sampan.engine.contract import CommitRequest
from sampan.http.router import Route
from sampan.image.contract import ImageConfig
from sampan.image.reference import parse
from sampan.store.events import Event

_CONFIG = msgspec.json.Decoder(ContainerConfig | None)


def _words(value: list[str] | str | None) -> tuple[str, ...] | None:
    return (value,) if isinstance(value, str) else None if value is None else tuple(value)


def overridden(config: ImageConfig, said: ContainerConfig) -> ImageConfig:
    """``config`` with what a client wants otherwise; what it left out stays."""
    labels, ports = said.labels or {}, said.exposed_ports
    new_ports = () if isinstance(ports, UnsetType) else tuple(ports or ())
    signal = said.stop_signal
    return replace(
        config,
        user=said.user or config.user,
        working_dir=said.working_dir or config.working_dir,
        env=with_env(config.env, [split_env(item) for item in said.env or ()]),
        cmd=config.cmd if said.cmd is None else _words(said.cmd),
        entrypoint=config.entrypoint if said.entrypoint is None else _words(said.entrypoint),
        labels={**config.labels, **labels},
        exposed_ports=tuple(dict.fromkeys((*config.exposed_ports, *new_ports))),
        volumes=tuple(dict.fromkeys((*config.volumes, *(said.volumes or ())))),
        stop_signal=config.stop_signal if isinstance(signal, UnsetType) else signal or "",
    )


async def commit(call: DockerRequest) -> web.Response:
    services = call.services
    container = services.engine.get(call.needs("container"))
    said = await call.body(_CONFIG, default=ContainerConfig()) or ContainerConfig()
    repo, tag, comment = call.text("repo"), call.text("tag"), call.text("comment")
    reference = parse(f"{repo}:{tag}" if tag else repo) if repo else None
    changes = [line for one in call.query.getall("changes", []) for line in one.split("\n")]
    author, now = call.text("author"), services.clock.now()

    def configure(config: ImageConfig) -> ImageConfig:
        config = changed(overridden(config, said), changes, now=now)
        return replace(config, author=author or config.author)

    def complete(config: ImageConfig, diff_id: str) -> dict[str, object]:
        by = " ".join(container.spec.args)
        entry = with_history(config, created=now, created_by=by, comment=comment, diff_id=diff_id)
        return render(entry)

    image = await services.engine.commit(
        container.id,
        CommitRequest(
            configure=configure,
            render=complete,
            name=reference.canonical if reference else "",
            comment=comment,
            pause=call.flag("pause", True),
        ),
    )
    if reference is not None:
        services.events.publish(Event("image", "tag", image.id, {"name": reference.familiar}))
    return call.json(IdResponse(id=image.id), status=201)


ROUTES = (Route("POST", "/commit", commit),)
