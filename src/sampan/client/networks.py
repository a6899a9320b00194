"""Networks. Raises as ``containers`` does."""

from __future__ import annotations

from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.client.client import Client


def list_(client: Client, filters: Mapping[str, list[str]] | None = None) -> list[dict[str, Any]]:
    """Every network."""
    return list(client.get("/networks", {"filters": filters or None}) or ())


def inspect(client: Client, ref: str, *, verbose: bool = False) -> dict[str, Any]:
    """One network with its containers."""
    found: dict[str, Any] = client.get(f"/networks/{quote(ref)}", {"verbose": verbose or None})
    return found


def create(client: Client, body: Mapping[str, Any]) -> dict[str, Any]:
    """``{"Id": ..., "Warning": ...}``. Conflict when the name is taken."""
    made: dict[str, Any] = client.post("/networks/create", None, dict(body))
    return made


def remove(client: Client, ref: str) -> None:
    """Refused while containers are attached."""
    client.delete(f"/networks/{quote(ref)}")


def connect(
    client: Client, ref: str, container: str, endpoint: Mapping[str, Any] | None = None
) -> None:
    """Attach a container; ``endpoint`` is an EndpointConfig (Aliases, IPAMConfig ...)."""
    body = {"Container": container, "EndpointConfig": dict(endpoint or {})}
    client.post(f"/networks/{quote(ref)}/connect", None, body)


def disconnect(client: Client, ref: str, container: str, *, force: bool = False) -> None:
    """Detach a container."""
    body = {"Container": container, "Force": force}
    client.post(f"/networks/{quote(ref)}/disconnect", None, body)


def prune(client: Client, filters: Mapping[str, list[str]] | None = None) -> dict[str, Any]:
    """Remove every network that no container uses."""
    done: dict[str, Any] = client.post("/networks/prune", {"filters": filters or None})
    return done
