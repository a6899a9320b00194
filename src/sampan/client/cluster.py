"""The cluster: forming it, its nodes, its tasks. Raises as ``containers`` does."""

from __future__ import annotations

from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.client.client import Client

    Filters = Mapping[str, list[str]]


def inspect(client: Client) -> dict[str, Any]:
    """The cluster with its specification, join tokens and CA."""
    found: dict[str, Any] = client.get("/swarm")
    return found


def init(client: Client, body: Mapping[str, Any]) -> str:
    """Make this host the first manager; answers the node's id."""
    made: str = client.post("/swarm/init", None, dict(body))
    return made


def join(client: Client, body: Mapping[str, Any]) -> None:
    """Make this host a member."""
    client.post("/swarm/join", None, dict(body))


def leave(client: Client, *, force: bool = False) -> None:
    """Take this host out."""
    client.post("/swarm/leave", {"force": force or None})


def update(
    client: Client,
    version: int,
    spec: Mapping[str, Any],
    *,
    rotate_worker: bool = False,
    rotate_manager: bool = False,
    rotate_unlock: bool = False,
) -> None:
    """Change the cluster's specification, or make new tokens or a new unlock key."""
    query = {
        "version": version,
        "rotateWorkerToken": _word(rotate_worker),
        "rotateManagerToken": _word(rotate_manager),
        "rotateManagerUnlockKey": _word(rotate_unlock),
    }
    client.post("/swarm/update", query, dict(spec))


def _word(value: bool) -> str:
    return "true" if value else "false"


def unlock_key(client: Client) -> str:
    """The key that starts a locked manager; empty when managers are not locked."""
    found: dict[str, Any] = client.get("/swarm/unlockkey")
    return str(found.get("UnlockKey") or "")


def unlock(client: Client, key: str) -> None:
    """Start a locked manager."""
    client.post("/swarm/unlock", None, {"UnlockKey": key})


def nodes(client: Client, filters: Filters | None = None) -> list[dict[str, Any]]:
    """Every node."""
    return list(client.get("/nodes", {"filters": filters or None}) or ())


def node(client: Client, ref: str) -> dict[str, Any]:
    """One node by id or name; ``self`` is this one."""
    if ref == "self":
        info = client.get("/info")
        ref = str((info.get("Swarm") or {}).get("NodeID") or "")
        if not ref:
            # A host that is no member answers here with the sentence that says what to do.
            nodes(client)
    found: dict[str, Any] = client.get(f"/nodes/{quote(ref)}")
    return found


def update_node(client: Client, ref: str, version: int, spec: Mapping[str, Any]) -> None:
    """Change labels, role, availability."""
    client.post(f"/nodes/{quote(ref)}/update", {"version": version}, dict(spec))


def remove_node(client: Client, ref: str, *, force: bool = False) -> None:
    """Forget a node that is down; ``force``: one that is not."""
    client.delete(f"/nodes/{quote(ref)}", {"force": force or None})


def tasks(client: Client, filters: Filters | None = None) -> list[dict[str, Any]]:
    """Tasks, dead ones too."""
    return list(client.get("/tasks", {"filters": filters or None}) or ())


def task(client: Client, ref: str) -> dict[str, Any]:
    """One task by id."""
    found: dict[str, Any] = client.get(f"/tasks/{quote(ref)}")
    return found
