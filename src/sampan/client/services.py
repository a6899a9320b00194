"""Services of the cluster. Raises as ``containers`` does."""

from __future__ import annotations

from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.client.client import Client
    from sampan.client.connection import Response


def list_(
    client: Client, filters: Mapping[str, list[str]] | None = None, *, status: bool = False
) -> list[dict[str, Any]]:
    """Services; with ``status`` each has its numbers of tasks (``ServiceStatus``)."""
    query = {"filters": filters or None, "status": status or None}
    return list(client.get("/services", query) or ())


def inspect(client: Client, ref: str, *, defaults: bool = False) -> dict[str, Any]:
    """One service by id or name; ``defaults`` fills in what its specification leaves open."""
    found: dict[str, Any] = client.get(
        f"/services/{quote(ref)}", {"insertDefaults": "true" if defaults else "false"}
    )
    return found


def create(client: Client, spec: Mapping[str, Any], *, auth: str | None = None) -> dict[str, Any]:
    """``{"ID": ..., "Warnings": [...]}``. ``auth``: X-Registry-Auth that nodes pull with."""
    headers = {"X-Registry-Auth": auth} if auth else None
    made: dict[str, Any] = client.post("/services/create", None, dict(spec), headers)
    return made


def update(
    client: Client,
    ref: str,
    version: int,
    spec: Mapping[str, Any],
    *,
    auth: str | None = None,
    auth_from: str | None = None,
    rollback: bool = False,
) -> dict[str, Any]:
    """``{"Warnings": [...]}``. Refused when the service has changed since ``version``.

    ``auth_from``: ``spec`` or ``previous-spec``, when no ``auth`` is given.
    """
    query = {
        "version": version,
        "registryAuthFrom": auth_from,
        "rollback": "previous" if rollback else None,
    }
    headers = {"X-Registry-Auth": auth} if auth else None
    done: dict[str, Any] | None = client.post(
        f"/services/{quote(ref)}/update", query, dict(spec), headers
    )
    return done or {}


def remove(client: Client, ref: str) -> None:
    """Remove a service; its tasks end by and by."""
    client.delete(f"/services/{quote(ref)}")


def logs(
    client: Client,
    ref: str,
    *,
    task: bool = False,
    follow: bool = False,
    since: str | None = None,
    tail: str = "all",
    timestamps: bool = False,
    details: bool = False,
) -> Response:
    """Lines of every task of a service (of one task, with ``task``), merged in time order."""
    query = {
        "stdout": True,
        "stderr": True,
        "follow": follow or None,
        "since": since,
        "tail": tail,
        "timestamps": timestamps or None,
        "details": details or None,
    }
    kind = "tasks" if task else "services"
    return client.stream("GET", f"/{kind}/{quote(ref)}/logs", query)


def why(client: Client, ref: str) -> dict[str, Any]:
    """What each task of a service waits for. Only sampan's daemon knows (NotFound elsewhere)."""
    found: dict[str, Any] = client.get(f"/sampan/services/{quote(ref)}/why")
    return found


def distribution(client: Client, image: str, auth: str | None = None) -> dict[str, Any]:
    """What the registry says of an image: ``Descriptor`` and ``Platforms``."""
    headers = {"X-Registry-Auth": auth} if auth else None
    path = f"/distribution/{quote(image, b'/:@')}/json"
    found: dict[str, Any] = client.stream("GET", path, headers=headers).json()  # type: ignore[assignment]
    return found
