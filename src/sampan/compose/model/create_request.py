"""A service as the engine's API wants to have it: pure functions from the model to JSON bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sampan import __version__
from sampan.compose.model.canonical import network_hash, volume_hash
from sampan.compose.model.engine_form import MadeFor, exposed, file_binds
from sampan.compose.model.project import Network, Project, Volume
from sampan.compose.model.service import Service
from sampan.compose.model.service_keys import SERVICE
from sampan.compose.model.top_keys import NETWORK, VOLUME

PREFIX = "com.docker.compose."
PARTS_LABEL = "dev.sampan.compose.parts"
"""Short hashes by key, so that a plan can say *what* changed in a configuration."""


def container_name(project: Project, service: Service, number: int) -> str:
    """``container_name``, else PROJECT-SERVICE-N."""
    return service.container_name or f"{project.name}-{service.name}-{number}"


def container_labels(
    project: Project,
    service: Service,
    number: int,
    *,
    config_hash: str,
    parts: Mapping[str, str],
    oneoff: bool = False,
) -> dict[str, str]:
    """Everything but the image's id, which is known only when the image is there."""
    depends = (
        f"{d.service}:{d.condition}:{'true' if d.restart else 'false'}" for d in service.depends_on
    )
    return {
        **service.labels,
        PREFIX + "project": project.name,
        PREFIX + "service": service.name,
        PREFIX + "container-number": str(number),
        PREFIX + "oneoff": "True" if oneoff else "False",
        PREFIX + "config-hash": config_hash,
        PREFIX + "project.config_files": ",".join(project.files),
        PREFIX + "project.working_dir": project.directory,
        PREFIX + "depends_on": ",".join(depends),
        PREFIX + "version": __version__,
        PARTS_LABEL: ",".join(f"{key}={value}" for key, value in sorted(parts.items())),
    }


def container_body(
    project: Project,
    service: Service,
    name: str,
    labels: Mapping[str, str],
    *,
    keep_volumes: Mapping[str, str],
    containers: Mapping[str, str],
) -> dict[str, Any]:
    """The body of ``POST /containers/create``.

    ``keep_volumes``: target -> name of an anonymous volume of the container that is replaced.
    ``containers``: service -> id or name of the container whose namespaces others may share.
    """
    made_for = MadeFor(project, service, name, keep_volumes, containers)
    body: dict[str, Any] = {
        "Image": project.image_of(service),
        "Env": [],
        "Labels": dict(labels),
        "ExposedPorts": exposed(service),
        "Volumes": {},
        "HostConfig": {},
        "NetworkingConfig": {"EndpointsConfig": {}},
        **SERVICE.request(service, made_for),
    }
    host = body["HostConfig"]
    covered = {mount.target for mount in service.mounts}
    host["Binds"] = [
        *host.get("Binds", ()),
        *(f"{name}:{target}:rw" for target, name in keep_volumes.items() if target not in covered),
        *file_binds(made_for),
    ]
    body["HostConfig"] = {k: v for k, v in host.items() if v not in ([], {}, "", None)}
    return body


def make_oneoff(body: dict[str, Any], name: str, *, remove: bool, aliases: bool) -> None:
    """Change a create request to that of ``run``: without the service's names on its networks,
    unless they are asked for."""
    if remove:
        body["HostConfig"]["AutoRemove"] = True
    if not aliases:
        for endpoint in body["NetworkingConfig"]["EndpointsConfig"].values():
            endpoint["Aliases"] = [name]


def network_body(project: Project, network: Network) -> dict[str, Any]:
    """The body of ``POST /networks/create``."""
    body = NETWORK.request(network, None)
    if network.ipam is not None:
        body["IPAM"].setdefault("Driver", "default")
    return {
        "Driver": "bridge",
        **body,
        "Name": network.name,
        "CheckDuplicate": True,
        "Labels": {
            **network.labels,
            PREFIX + "config-hash": network_hash(network),
            PREFIX + "network": network.key,
            PREFIX + "project": project.name,
            PREFIX + "version": __version__,
        },
    }


def volume_body(project: Project, volume: Volume) -> dict[str, Any]:
    """The body of ``POST /volumes/create``."""
    return {
        "Driver": "local",
        **VOLUME.request(volume, None),
        "Name": volume.name,
        "Labels": {
            **volume.labels,
            PREFIX + "config-hash": volume_hash(volume),
            PREFIX + "volume": volume.key,
            PREFIX + "project": project.name,
            PREFIX + "version": __version__,
        },
    }
