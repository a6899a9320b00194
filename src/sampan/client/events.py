"""The daemon's event feed, and what it says about itself. Raises as ``containers`` does."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.client.client import Client
    from sampan.client.connection import Response


def follow(
    client: Client,
    *,
    since: str | None = None,
    until: str | None = None,
    filters: Mapping[str, list[str]] | None = None,
) -> Response:
    """The feed (``iter_json``). It is open when this returns: what happens from now on is in it.

    Close it, from any thread, to end.
    """
    return client.stream(
        "GET", "/events", {"since": since, "until": until, "filters": filters or None}
    )


def info(client: Client) -> dict[str, Any]:
    """``GET /info``."""
    found: dict[str, Any] = client.get("/info")
    return found


def version(client: Client) -> dict[str, Any]:
    """``GET /version``."""
    found: dict[str, Any] = client.get("/version")
    return found


def disk_usage(client: Client) -> dict[str, Any]:
    """``GET /system/df``."""
    found: dict[str, Any] = client.get("/system/df")
    return found
