"""Registry credentials as docker's own configuration holds them (``~/.docker/config.json``)."""

from __future__ import annotations

import base64
import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

HUB = "https://index.docker.io/v1/"


def config_path(environ: Mapping[str, str]) -> str:
    """DOCKER_CONFIG/config.json, else ~/.docker/config.json."""
    folder = environ.get("DOCKER_CONFIG") or os.path.join(environ.get("HOME", "/"), ".docker")
    return os.path.join(folder, "config.json")


def load_config(environ: Mapping[str, str]) -> dict[str, Any]:
    """The configuration; empty when there is none. Raises ValueError when it is broken."""
    path = config_path(environ)
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} is not a JSON object")
    return found


def registry_of(ref: str) -> str:
    """The configuration's key for an image's registry."""
    first, slash, _ = ref.partition("/")
    named = slash and ("." in first or ":" in first or first == "localhost")
    return first if named and first not in ("docker.io", "index.docker.io") else HUB


def header_for(ref: str, environ: Mapping[str, str]) -> str | None:
    """X-Registry-Auth for an image reference; None when there are no credentials."""
    registry = registry_of(ref)
    found = credentials(load_config(environ), registry)
    return encode({**found, "serveraddress": registry}) if found else None


def build_header(environ: Mapping[str, str]) -> str | None:
    """X-Registry-Config: every credential, since a build may pull from anywhere."""
    config = load_config(environ)
    names = {*(config.get("auths") or {}), *(config.get("credHelpers") or {})}
    every = {name: found for name in sorted(names) if (found := credentials(config, name))}
    return encode(every) if every else None


def encode(value: Mapping[str, Any]) -> str:
    """URL-safe base64 of JSON."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def credentials(config: Mapping[str, Any], registry: str) -> dict[str, str]:
    """``username`` and ``password`` (or ``identitytoken``) for a registry; empty when unknown."""
    helper = (config.get("credHelpers") or {}).get(registry) or config.get("credsStore")
    if helper:
        return _ask_helper(str(helper), registry)
    entries = config.get("auths") or {}
    entry = entries.get(registry) or entries.get(f"https://{registry}") or {}
    if entry.get("identitytoken"):
        return {"identitytoken": entry["identitytoken"]}
    if entry.get("auth"):
        try:
            plain = base64.b64decode(entry["auth"]).decode()
        except ValueError:
            return {}
        user, _, password = plain.partition(":")
        return {"username": user, "password": password}
    if entry.get("username"):
        return {"username": entry["username"], "password": entry.get("password", "")}
    return {}


def _ask_helper(name: str, registry: str) -> dict[str, str]:
    import subprocess

    try:
        done = subprocess.run(
            [f"docker-credential-{name}", "get"],
            input=registry.encode(),
            capture_output=True,
            check=True,
        )
        answer = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return {}  # no such helper, or it knows nothing of this registry: go on anonymously
    user, secret = str(answer.get("Username", "")), str(answer.get("Secret", ""))
    if user == "<token>":
        return {"identitytoken": secret}
    return {"username": user, "password": secret}
