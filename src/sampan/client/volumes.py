"""Volumes. Raises as ``containers`` does."""

from __future__ import annotations

from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.client.client import Client


def list_(client: Client, filters: Mapping[str, list[str]] | None = None) -> list[dict[str, Any]]:
    """Every volume."""
    return list(listing(client, filters).get("Volumes") or ())


def listing(client: Client, filters: Mapping[str, list[str]] | None = None) -> dict[str, Any]:
    """``{"Volumes": [...], "Warnings": [...]}``: a warning for each driver that was not asked."""
    told: dict[str, Any] = client.get("/volumes", {"filters": filters or None}) or {}
    return told


def inspect(client: Client, name: str) -> dict[str, Any]:
    """One volume."""
    found: dict[str, Any] = client.get(f"/volumes/{quote(name)}")
    return found


def create(client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
    """The volume; the one of that name when it exists already."""
    made: dict[str, Any] = client.post("/volumes/create", None, dict(body))
    return made


def remove(client: Client, name: str, *, force: bool = False) -> None:
    """Conflict while a container uses it."""
    client.delete(f"/volumes/{quote(name)}", {"force": force or None})


def prune(client: Client, filters: Mapping[str, list[str]] | None = None) -> dict[str, Any]:
    """Remove anonymous volumes that no container uses (filter ``all``: named ones too)."""
    done: dict[str, Any] = client.post("/volumes/prune", {"filters": filters or None})
    return done
