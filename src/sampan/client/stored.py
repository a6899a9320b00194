"""Secrets and configs, which are alike. ``kind`` is ``secrets`` or ``configs``.

Raises as ``containers`` does.
"""

from __future__ import annotations

from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from sampan.client.client import Client


def list_(
    client: Client, kind: str, filters: Mapping[str, list[str]] | None = None
) -> list[dict[str, Any]]:
    """All of them; a secret comes without its content."""
    return list(client.get(f"/{kind}", {"filters": filters or None}) or ())


def inspect(client: Client, kind: str, ref: str) -> dict[str, Any]:
    """One by id or name."""
    found: dict[str, Any] = client.get(f"/{kind}/{quote(ref)}")
    return found


def create(client: Client, kind: str, spec: Mapping[str, Any]) -> str:
    """Answers the id. Conflict when the name is taken."""
    made: dict[str, Any] = client.post(f"/{kind}/create", None, dict(spec))
    return str(made["ID"])


def update(client: Client, kind: str, ref: str, version: int, spec: Mapping[str, Any]) -> None:
    """Change labels. Refused when the content differs."""
    client.post(f"/{kind}/{quote(ref)}/update", {"version": version}, dict(spec))


def remove(client: Client, kind: str, ref: str) -> None:
    """Refused while a service uses it."""
    client.delete(f"/{kind}/{quote(ref)}")
