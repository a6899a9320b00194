"""The model back as plain data: what ``config`` prints, and what the configuration hash covers."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sampan.compose.model.project import FileSource, Network, Project, Volume
from sampan.compose.model.service import Service
from sampan.compose.model.service_keys import SERVICE
from sampan.compose.model.table import NoEffect
from sampan.compose.model.top_keys import NETWORK, SECRET, VOLUME

_NOT_HASHED = frozenset(
    {"attach", "build", "depends_on", "deploy", "profiles", "pull_policy", "scale"}
) | {key.name for key in SERVICE.keys if isinstance(key.engine, NoEffect)}
"""Changes of these do not change a container that runs already. What ``deploy`` says of a container
is hashed under the keys that say the same for one host."""


def service_data(service: Service) -> dict[str, Any]:
    """The service under the specification's keys, in long form, without what is not set."""
    return dict(sorted(SERVICE.data(service).items()))


def project_data(project: Project) -> dict[str, Any]:
    """The whole project as ``config`` prints it."""
    data: dict[str, Any] = {
        "name": project.name,
        "services": {n: service_data(s) for n, s in sorted(project.services.items())},
        "networks": {k: NETWORK.data(n) for k, n in sorted(project.networks.items())},
        "volumes": {k: VOLUME.data(v) for k, v in sorted(project.volumes.items())},
    }
    for kind, files in (("secrets", project.secrets), ("configs", project.configs)):
        data[kind] = {key: _file(key, file) for key, file in sorted(files.items())}
    return {key: value for key, value in data.items() if value or key in ("name", "services")}


def _file(key: str, file: FileSource) -> dict[str, Any]:
    data = SECRET.data(file)
    if file.content == "":
        data["content"] = ""  # an empty file is not the same as none
    return data


def part_hashes(service: Service, extra: dict[str, str]) -> dict[str, str]:
    """A short hash for each key that makes the container what it is.

    ``extra`` are things that the file only points at: the content of secrets, for example.
    """
    data = {k: v for k, v in service_data(service).items() if k not in _NOT_HASHED}
    return {key: _digest(value)[:8] for key, value in {**data, **extra}.items()}


def hashes(project: Project, service: Service) -> tuple[str, dict[str, str]]:
    """(configuration hash, short hashes by key)."""
    contents = {
        f"{kind} {g.source}": str(known[g.source].content)
        for kind, grants, known in (
            ("secret", service.secrets, project.secrets),
            ("config", service.configs, project.configs),
        )
        for g in grants
        if known[g.source].content is not None
    }
    parts = part_hashes(service, {**contents, "image": project.image_of(service)})
    return config_hash(parts), parts


def config_hash(parts: dict[str, str]) -> str:
    """The value of the config-hash label: 64 hex digits."""
    return _digest(parts)


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def network_hash(network: Network) -> str:
    """The value of a network's config-hash label."""
    return _digest(NETWORK.data(network))


def volume_hash(volume: Volume) -> str:
    """The value of a volume's config-hash label."""
    return _digest(VOLUME.data(volume))
