"""Images. Raises as ``containers`` does; progress streams also raise StreamFailed."""

from __future__ import annotations

from sampan.client.errors import StreamFailed
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from sampan.client.client import Client
    from sampan.client.connection import Response


def _path(ref: str, action: str = "") -> str:
    # Slashes stay: the daemon routes /images/{name:.*}/json.
    return f"/images/{quote(ref, b'/:@')}{action}"


def list_(
    client: Client,
    *,
    all: bool = False,
    digests: bool = False,
    filters: Mapping[str, list[str]] | None = None,
) -> list[dict[str, Any]]:
    """Images with at least a tag or nothing on top; with ``all`` every intermediate one too."""
    query = {"all": all or None, "digests": digests or None, "filters": filters or None}
    return list(client.get("/images/json", query) or ())


def inspect(client: Client, ref: str) -> dict[str, Any]:
    """Everything known of one image."""
    found: dict[str, Any] = client.get(_path(ref, "/json"))
    return found


def history(client: Client, ref: str) -> list[dict[str, Any]]:
    """How it was made, newest step first."""
    return list(client.get(_path(ref, "/history")) or ())


def tag(client: Client, ref: str, target: str) -> None:
    """Give another name, REPOSITORY[:TAG]."""
    repo, name = split_tag(target)
    client.post(_path(ref, "/tag"), {"repo": repo, "tag": name or "latest"})


def remove(
    client: Client, ref: str, *, force: bool = False, prune: bool = True
) -> list[dict[str, str]]:
    """``[{"Untagged": ...}, {"Deleted": ...}]``. Conflict while a container uses it."""
    return list(client.delete(_path(ref), {"force": force or None, "noprune": not prune or None}))


def prune(client: Client, filters: Mapping[str, list[str]] | None = None) -> dict[str, Any]:
    """Remove dangling images (filter ``dangling=false``: every unused one)."""
    done: dict[str, Any] = client.post("/images/prune", {"filters": filters or None})
    return done


def split_tag(ref: str) -> tuple[str, str]:
    """("repository", "tag or digest or empty")."""
    repo, at, digest = ref.partition("@")
    if at:
        return repo, digest
    head, colon, last = ref.rpartition(":")
    return (head, last) if colon and "/" not in last else (ref, "")


def pull(
    client: Client, ref: str, *, platform: str | None = None, auth: str | None = None
) -> Iterator[dict[str, Any]]:
    """Fetch an image; the progress messages as they come.

    ``auth``: an X-Registry-Auth value (see ``auth``). Raises StreamFailed.
    """
    repo, name = split_tag(ref)
    query = {"fromImage": repo, "tag": name or "latest", "platform": platform}
    headers = {"X-Registry-Auth": auth} if auth else None
    return progress(client.stream("POST", "/images/create", query, None, headers))


def push(
    client: Client, ref: str, *, auth: str | None = None, platform: str | None = None
) -> Iterator[dict[str, Any]]:
    """Send an image to its registry. Raises StreamFailed."""
    repo, name = split_tag(ref)
    headers = {"X-Registry-Auth": auth or "e30="}  # the header must be there: {} when anonymous
    query = {"tag": name or None, "platform": platform}
    return progress(client.stream("POST", _path(repo, "/push"), query, None, headers))


def push_all(client: Client, repo: str, *, auth: str | None = None) -> Iterator[dict[str, Any]]:
    """Send every tag of a repository."""
    return push(client, repo, auth=auth)


def load(client: Client, archive: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Bring images in from an archive made by ``save``. Raises StreamFailed."""
    return progress(client.stream("POST", "/images/load", {"quiet": False}, archive))


def save(client: Client, refs: list[str]) -> Response:
    """An archive (tar) of images."""
    return client.stream("GET", "/images/get", {"names": refs})


def import_(
    client: Client,
    source: Iterable[bytes],
    *,
    repo: str,
    tag: str,
    changes: Iterable[str] = (),
    message: str | None = None,
    platform: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Make an image with one layer of a root file system's tar. Raises StreamFailed."""
    query = {
        "fromSrc": "-",
        "repo": repo or None,
        "tag": tag or None,
        "changes": list(changes),
        "message": message,
        "platform": platform,
    }
    return progress(client.stream("POST", "/images/create", query, source))


def progress(response: Response) -> Iterator[dict[str, Any]]:
    """Progress messages one by one; an error among them is raised as StreamFailed."""
    try:
        for message in response.iter_json():
            fail_on_error(message)
            yield message
    finally:
        response.close()


def fail_on_error(message: Mapping[str, Any]) -> None:
    """Raises StreamFailed when a progress message is an error."""
    detail = message.get("errorDetail") or {}
    text = detail.get("message") or message.get("error")
    if text:
        raise StreamFailed(str(text), int(detail.get("code") or 0))
