"""``POST /build``: send a context, follow the steps. Raises as ``containers`` does."""

from __future__ import annotations

from sampan.client.images import progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from sampan.client.client import Client


def build(
    client: Client,
    context: Iterable[bytes] | None,
    *,
    tags: Sequence[str] = (),
    dockerfile: str | None = None,
    build_args: Mapping[str, str | None] | None = None,
    labels: Mapping[str, str] | None = None,
    target: str | None = None,
    no_cache: bool = False,
    pull: bool = False,
    quiet: bool = False,
    network: str | None = None,
    cache_from: Sequence[str] = (),
    extra_hosts: Sequence[str] = (),
    platform: str | None = None,
    shm_size: int | None = None,
    remote: str | None = None,
    registry_config: str | None = None,
    extra: Mapping[str, object] | None = None,
) -> Iterator[dict[str, Any]]:
    """Messages of the build: ``stream`` (text), ``status`` (of a pull), ``aux`` (the image's ID).

    ``context``: a tar, in pieces (``context.Context.chunks``); None with ``remote``, a URL that the
    daemon fetches. ``registry_config``: see ``auth.build_header``. ``extra``: more of the API's
    query. The context is sent before this returns. Raises StreamFailed with the failing step's
    exit code.
    """
    query: dict[str, object] = {
        "t": list(tags),
        "dockerfile": dockerfile,
        "buildargs": dict(build_args) if build_args else None,
        "labels": dict(labels) if labels else None,
        "target": target,
        "nocache": no_cache or None,
        "pull": pull or None,
        "q": quiet or None,
        "networkmode": network,
        "cachefrom": _json_list(cache_from),
        "extrahosts": list(extra_hosts),
        "platform": platform,
        "shmsize": shm_size,
        "remote": remote,
        "rm": True,
        "forcerm": True,
        "version": "1",
        **(extra or {}),
    }
    headers = {"Content-Type": "application/x-tar"}
    if registry_config:
        headers["X-Registry-Config"] = registry_config
    return progress(client.stream("POST", "/build", query, context, headers))


def image_id(message: Mapping[str, Any]) -> str | None:
    """The built image's id when a message tells it."""
    aux = message.get("aux")
    return str(aux["ID"]) if isinstance(aux, dict) and "ID" in aux else None


def _json_list(items: Sequence[str]) -> str | None:
    from json import dumps

    return dumps(list(items)) if items else None
