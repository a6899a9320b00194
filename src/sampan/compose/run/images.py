"""Bring an image here: pull it, or build it from a service's ``build``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from sampan.client import Client, NotFound, auth, images
from sampan.compose.plan.steps import BuildImage
from sampan.errors import SampanError

if TYPE_CHECKING:
    from sampan.compose.run.progress import Progress


class ImageFailed(SampanError):
    """A build or pull ended with an error; the message is the engine's."""


def pull_image(client: Client, reference: str, platform: str, progress: Progress) -> None:
    """Raises StreamFailed, ApiError."""
    header = auth.header_for(reference, os.environ)
    try:
        for message in images.pull(client, reference, platform=platform or None, auth=header):
            status = str(message.get("status", ""))
            if "id" not in message and status:
                progress.note(status)
    except NotFound as error:
        raise ImageFailed(f"cannot pull {reference}: {error}") from None


def build_image(client: Client, action: BuildImage, progress: Progress) -> None:
    """Send the context and follow the steps. Raises StreamFailed, ApiError, InvalidArgument."""
    from sampan.client import build as builds
    from sampan.client.context import Context
    from sampan.compose.file.merge import is_remote
    from sampan.compose.model.sections import BUILD

    service, plan = action.service, action.service.build
    assert plan is not None
    said = BUILD.request(plan, None)
    args: dict[str, str | None] = dict(plan.args)
    for item in action.args:
        key, equals, value = item.partition("=")
        args[key] = value if equals else os.environ.get(key)
    remote = plan.context if is_remote(plan.context) else None
    context = None
    dockerfile: str | None = plan.dockerfile
    if remote is None:
        source = (
            plan.inline.encode() if plan.inline else os.path.join(plan.context, plan.dockerfile)
        )
        context = Context(plan.context, source)
        dockerfile = context.dockerfile
    prefix = f"{service.name} | "
    for message in builds.build(
        client,
        context.chunks() if context else None,
        **said
        | {
            "tags": (action.reference, *plan.tags),
            "build_args": args,
            "no_cache": action.no_cache or plan.no_cache,
            "pull": action.pull or plan.pull,
        },
        dockerfile=dockerfile,
        platform=service.platform or None,
        remote=remote,
        registry_config=auth.build_header(os.environ),
    ):
        for line in _text(message).splitlines():
            if line.strip():
                progress.note(prefix + line)


def _text(message: dict[str, Any]) -> str:
    return str(message.get("stream") or message.get("status") or "")
