"""Containers: the resource's requests, by their names in the API.

Objects are what the API's JSON says, under its own field names. Every function raises ApiError
(NotFound, Conflict ...), Unreachable and ProtocolError; only what is special is said below.
"""

from __future__ import annotations

from sampan.client.errors import NotModified
from sampan.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from sampan.client.client import Client
    from sampan.client.connection import Hijacked, Response


def _path(ref: str, action: str = "") -> str:
    return f"/containers/{quote(ref)}{action}"


def list_(
    client: Client,
    *,
    all: bool = False,
    limit: int | None = None,
    size: bool = False,
    filters: Mapping[str, list[str]] | None = None,
) -> list[dict[str, Any]]:
    """Running containers, newest first; with ``all`` the others too."""
    query = {"all": all or None, "limit": limit, "size": size or None, "filters": filters or None}
    found: list[dict[str, Any]] = client.get("/containers/json", query)
    return found


def inspect(client: Client, ref: str, *, size: bool = False) -> dict[str, Any]:
    """Everything known of one container."""
    found: dict[str, Any] = client.get(_path(ref, "/json"), {"size": size or None})
    return found


def create(
    client: Client, body: Mapping[str, Any], *, name: str | None = None, platform: str | None = None
) -> dict[str, Any]:
    """``{"Id": ..., "Warnings": [...]}``. NotFound when the image is not here."""
    query = {"name": name, "platform": platform}
    made: dict[str, Any] = client.post("/containers/create", query, dict(body))
    return made


def start(client: Client, ref: str, *, detach_keys: str | None = None) -> bool:
    """False when it was running already."""
    try:
        client.post(_path(ref, "/start"), {"detachKeys": detach_keys})
    except NotModified:
        return False
    return True


def stop(
    client: Client, ref: str, *, timeout_s: int | None = None, signal: str | None = None
) -> bool:
    """False when it was stopped already. ``timeout_s`` -1 waits without end."""
    try:
        client.post(_path(ref, "/stop"), {"t": timeout_s, "signal": signal})
    except NotModified:
        return False
    return True


def restart(
    client: Client, ref: str, *, timeout_s: int | None = None, signal: str | None = None
) -> None:
    """Stop, then start."""
    client.post(_path(ref, "/restart"), {"t": timeout_s, "signal": signal})


def kill(client: Client, ref: str, signal: str | None = None) -> None:
    """Send a signal (KILL by default) to the container's first process."""
    client.post(_path(ref, "/kill"), {"signal": signal})


def pause(client: Client, ref: str) -> None:
    """Freeze every process."""
    client.post(_path(ref, "/pause"))


def unpause(client: Client, ref: str) -> None:
    """Thaw."""
    client.post(_path(ref, "/unpause"))


def rename(client: Client, ref: str, name: str) -> None:
    """Give another name."""
    client.post(_path(ref, "/rename"), {"name": name})


def update(client: Client, ref: str, body: Mapping[str, Any]) -> list[str]:
    """Change limits and restart policy; answers warnings."""
    answer = client.post(_path(ref, "/update"), None, dict(body)) or {}
    return list(answer.get("Warnings") or ())


def remove(
    client: Client, ref: str, *, force: bool = False, volumes: bool = False, link: bool = False
) -> None:
    """Conflict when it runs and ``force`` is not given."""
    client.delete(_path(ref), {"force": force or None, "v": volumes or None, "link": link or None})


def wait(client: Client, ref: str, condition: str | None = None) -> Response:
    """Ask for the exit; the daemon answers with the head at once and with the body at the exit.

    So a caller that asks with ``next-exit`` or ``removed`` before the start cannot miss it: pass
    the response to ``exit_code`` later.
    """
    return client.stream("POST", _path(ref, "/wait"), {"condition": condition})


def exit_code(waiting: Response) -> tuple[int, str]:
    """Wait for the end: (exit code, the daemon's error message or "")."""
    answer: Any = waiting.json() or {}
    return int(answer.get("StatusCode", 0)), str((answer.get("Error") or {}).get("Message", ""))


def attach(
    client: Client,
    ref: str,
    *,
    stdin: bool = False,
    stdout: bool = True,
    stderr: bool = True,
    logs: bool = False,
    detach_keys: str | None = None,
) -> Hijacked:
    """Join the container's stdio, as of now (with ``logs``: as of its start)."""
    query = {
        "stream": True,
        "stdin": stdin or None,
        "stdout": stdout or None,
        "stderr": stderr or None,
        "logs": logs or None,
        "detachKeys": detach_keys,
    }
    return client.hijack(_path(ref, "/attach"), query)


def resize(client: Client, ref: str, height: int, width: int) -> None:
    """Tell the container's terminal its size, in characters."""
    client.post(_path(ref, "/resize"), {"h": height, "w": width})


def logs(
    client: Client,
    ref: str,
    *,
    stdout: bool = True,
    stderr: bool = True,
    follow: bool = False,
    since: str | None = None,
    until: str | None = None,
    timestamps: bool = False,
    tail: str | None = None,
    details: bool = False,
) -> Response:
    """The log; framed unless the container has a terminal (see ``frames.split``)."""
    query = {
        "stdout": stdout or None,
        "stderr": stderr or None,
        "follow": follow or None,
        "since": since,
        "until": until,
        "timestamps": timestamps or None,
        "tail": tail,
        "details": details or None,
    }
    return client.stream("GET", _path(ref, "/logs"), query)


def exec_create(client: Client, ref: str, body: Mapping[str, Any]) -> str:
    """Prepare a command in a running container; answers the exec's id."""
    return str(client.post(_path(ref, "/exec"), None, dict(body))["Id"])


def exec_start(client: Client, exec_id: str, *, tty: bool = False) -> Hijacked:
    """Start the command and join its stdio."""
    return client.hijack(f"/exec/{exec_id}/start", None, {"Detach": False, "Tty": tty})


def exec_start_detached(client: Client, exec_id: str, *, tty: bool = False) -> None:
    """Start the command and leave it alone."""
    client.post(f"/exec/{exec_id}/start", None, {"Detach": True, "Tty": tty})


def exec_resize(client: Client, exec_id: str, height: int, width: int) -> None:
    """As ``resize``, of an exec's terminal."""
    client.post(f"/exec/{exec_id}/resize", {"h": height, "w": width})


def exec_inspect(client: Client, exec_id: str) -> dict[str, Any]:
    """``Running``, ``ExitCode`` ..."""
    found: dict[str, Any] = client.get(f"/exec/{exec_id}/json")
    return found


def top(client: Client, ref: str, ps_args: str | None = None) -> dict[str, Any]:
    """``{"Titles": [...], "Processes": [[...]]}``."""
    found: dict[str, Any] = client.get(_path(ref, "/top"), {"ps_args": ps_args or None})
    return found


def changes(client: Client, ref: str) -> list[dict[str, Any]]:
    """What differs from the image: ``Kind`` 0 changed, 1 added, 2 deleted."""
    return list(client.get(_path(ref, "/changes")) or ())


def stats(client: Client, ref: str, *, stream: bool = False) -> Response:
    """Resource use, one JSON object a second; without ``stream`` one object."""
    return client.stream("GET", _path(ref, "/stats"), {"stream": stream})


def export(client: Client, ref: str) -> Response:
    """The whole root file system as a tar."""
    return client.stream("GET", _path(ref, "/export"))


def archive_get(client: Client, ref: str, path: str) -> tuple[str, Response]:
    """(the base64 JSON description of ``path``, a tar of it)."""
    response = client.stream("GET", _path(ref, "/archive"), {"path": path})
    return response.headers.get("x-docker-container-path-stat", ""), response


def archive_stat(client: Client, ref: str, path: str) -> str:
    """The base64 JSON description of ``path``; NotFound when it does not exist."""
    headers = client.head(_path(ref, "/archive"), {"path": path})
    return headers.get("x-docker-container-path-stat", "")


def archive_put(
    client: Client, ref: str, path: str, tar: Iterable[bytes], *, copy_uid_gid: bool = False
) -> None:
    """Unpack a tar into the directory ``path``."""
    query = {
        "path": path,
        "noOverwriteDirNonDir": True,
        "copyUIDGID": copy_uid_gid or None,
    }
    client.put(_path(ref, "/archive"), query, tar)


def commit(
    client: Client,
    ref: str,
    *,
    repo: str,
    tag: str,
    comment: str = "",
    author: str = "",
    pause: bool = True,
    changes: list[str] | None = None,
) -> str:
    """Make an image of the container; answers the image's id."""
    query = {
        "container": ref,
        "repo": repo or None,
        "tag": tag or None,
        "comment": comment or None,
        "author": author or None,
        "pause": pause,
        "changes": changes or None,
    }
    return str(client.post("/commit", query)["Id"])


def prune(client: Client, filters: Mapping[str, list[str]] | None = None) -> dict[str, Any]:
    """Remove every stopped container."""
    done: dict[str, Any] = client.post("/containers/prune", {"filters": filters or None})
    return done
