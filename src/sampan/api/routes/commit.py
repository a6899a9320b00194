"""What a container wrote: ``docker commit`` and ``docker diff``."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from aiohttp import web

from sampan.api.call import Call
from sampan.api.router import Route
from sampan.api.translate.commit import image_config
from sampan.api.types.common import IdResponse, Wire
from sampan.api.types.containers import ContainerConfig
from sampan.build.changes import changed
from sampan.build.state import render, with_history
from sampan.engine.contract import CommitRequest
from sampan.image.contract import ImageConfig
from sampan.image.reference import parse

_KINDS = {"modified": 0, "added": 1, "deleted": 2}
_CONFIG = msgspec.json.Decoder(ContainerConfig | None)


class ChangeBody(Wire, kw_only=True):
    path: str
    kind: int


async def changes(call: Call) -> web.Response:
    found = await call.services.engine.changes(call.path["id"])
    # Null and not an empty list when there is nothing: what Docker's clients were written for.
    return call.json([ChangeBody(path=c.path, kind=_KINDS[c.kind]) for c in found] or None)


async def commit(call: Call) -> web.Response:
    name, tag = call.text("repo"), call.text("tag")
    author, comment = call.text("author"), call.text("comment")
    wanted = await call.body(_CONFIG, default=None) if call.request.can_read_body else None
    instructions = [line for line in call.query.getall("changes", []) if line.strip()]
    now = call.services.clock.now()

    container = call.services.engine.get(call.needs("container"))
    command = " ".join(container.spec.args)

    def configure(base: ImageConfig) -> ImageConfig:
        if wanted is not None:
            base = image_config(base, wanted)
        if author:
            base = replace(base, author=author)
        return changed(base, instructions, now=now) if instructions else base

    def complete(config: ImageConfig, diff_id: str) -> dict[str, object]:
        return render(
            with_history(config, created=now, created_by=command, diff_id=diff_id, comment=comment)
        )

    image = await call.services.engine.commit(
        container.id,
        CommitRequest(
            configure=configure,
            render=complete,
            name=parse(f"{name}:{tag}" if tag else name).canonical if name else "",
            comment=comment,
            pause=call.flag("pause", True),
        ),
    )
    return call.json(IdResponse(id=image.id), status=201)


ROUTES = (
    Route("GET", "/containers/{id}/changes", changes),
    Route("POST", "/commit", commit),
)
