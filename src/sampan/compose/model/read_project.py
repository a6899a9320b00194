"""A loaded tree to ``model.Project``: the last step that can complain about the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sampan.compose.errors import ComposeFileError
from sampan.compose.file.load import Loaded
from sampan.compose.file.node_reader import NodeReader
from sampan.compose.file.schema_types import suggestion
from sampan.compose.model.project import FileSource, Network, Project, Volume
from sampan.compose.model.read_service import read_service
from sampan.compose.model.service import Service
from sampan.compose.model.table import Section
from sampan.compose.model.top_keys import NETWORK, SECRET, VOLUME


def read(loaded: Loaded, profiles: tuple[str, ...] = (), named: tuple[str, ...] = ()) -> Project:
    """The project with the services of the active ``profiles``; ``named`` ones are always in.

    Raises:
        ComposeFileError: with file, line and path.
    """
    top = NodeReader(loaded.tree, "", loaded.tree.where)
    every = {
        name: read_service(name, item, loaded.variables) for name, item in top["services"].items()
    }
    secrets = {
        k: _local_file(k, c, loaded.name, loaded.variables) for k, c in top["secrets"].items()
    }
    configs = {
        k: _local_file(k, c, loaded.name, loaded.variables) for k, c in top["configs"].items()
    }
    networks = {k: read_network(k, c, loaded.name) for k, c in top["networks"].items()}
    volumes = {k: read_volume(k, c, loaded.name) for k, c in top["volumes"].items()}
    active = _active(every, profiles, named)
    services = {name: service for name, service in every.items() if name in active}
    _check_references(top, services, every, networks, volumes, secrets, configs)
    services = {n: _without_absent(s, services) for n, s in services.items()}
    _refuse_cycles(services)
    used = {a.network for s in services.values() for a in s.attachments}
    if "default" in used and "default" not in networks:
        networks["default"] = Network("default", f"{loaded.name}_default")
    return Project(
        name=loaded.name,
        directory=loaded.directory,
        files=loaded.files,
        services=services,
        # As with Compose: what no service uses is not made.
        networks={k: n for k, n in networks.items() if k in used},
        volumes=volumes,
        secrets=secrets,
        configs=configs,
        disabled={name: service for name, service in every.items() if name not in active},
        warnings=tuple(_warnings(services, {**secrets, **configs})),
    )


def _active(
    every: Mapping[str, Service], profiles: tuple[str, ...], named: tuple[str, ...]
) -> set[str]:
    on = set(profiles)
    for name in named:
        on |= set(every[name].profiles) if name in every else set()
    return {
        name
        for name, service in every.items()
        if not service.profiles or "*" in on or on & set(service.profiles) or name in named
    }


def _without_absent(service: Service, services: Mapping[str, Service]) -> Service:
    kept = tuple(d for d in service.depends_on if d.required or d.service in services)
    return service if kept == service.depends_on else service._replace(depends_on=kept)


def _check_references(
    top: NodeReader,
    services: Mapping[str, Service],
    every: Mapping[str, Service],
    networks: Mapping[str, Network],
    volumes: Mapping[str, Volume],
    secrets: Mapping[str, FileSource],
    configs: Mapping[str, FileSource],
) -> None:
    for name, service in services.items():
        cur = top["services"][name]
        for attachment in service.attachments:
            if attachment.network not in networks and attachment.network != "default":
                raise _undefined(cur["networks"], "network", attachment.network, networks)
        for mount in service.mounts:
            if mount.kind == "volume" and mount.source and mount.source not in volumes:
                raise _undefined(cur["volumes"], "volume", mount.source, volumes)
        for kind, grants, known in (
            ("secret", service.secrets, secrets),
            ("config", service.configs, configs),
        ):
            for grant in grants:
                if grant.source not in known:
                    raise _undefined(cur[f"{kind}s"], kind, grant.source, known)
        optional = {d.service for d in service.depends_on if not d.required}
        for dependency in service.dependencies():
            if dependency.service in services or dependency.service in optional:
                continue
            place = cur["depends_on"] if cur["depends_on"] else cur
            if dependency.service in every:
                wanted = ", ".join(every[dependency.service].profiles)
                raise place.fail(
                    f'the service "{dependency.service}" is in a profile that is not active: '
                    f"add --profile {wanted}"
                )
            raise _undefined(place, "service", dependency.service, every)


def _undefined(
    cur: NodeReader, kind: str, name: str, known: Mapping[str, object]
) -> ComposeFileError:
    top = "" if kind == "service" else f" in the top-level {kind}s"
    return cur.fail(f'there is no {kind} "{name}"{top}{suggestion(name, known)}')


def _refuse_cycles(services: Mapping[str, Service]) -> None:
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        if name in trail:
            circle = " -> ".join([*trail[trail.index(name) :], name])
            raise ComposeFileError(
                services[name].where, f"services.{name}: depends on itself: {circle}"
            )
        if name in done or name not in services:
            return
        for dependency in services[name].dependencies():
            visit(dependency.service, (*trail, name))
        done.add(name)

    for name in services:
        visit(name, ())


def _named(section: Section, key: str, cur: NodeReader, scope: str, env: Mapping[str, str]) -> Any:
    """A thing of the top level: by its own name, by its key when it is from outside, or scoped."""
    fields = section.fields(cur, env)
    outside = cur["external"]
    old_name = "" if outside.is_scalar else outside["name"].text()
    usual = key if fields.get("external") else f"{scope}_{key}"
    return section.make(key, **{**fields, "name": fields.get("name") or old_name or usual})


def read_network(key: str, cur: NodeReader, scope: str) -> Network:
    """One network of the top level. Raises ComposeFileError."""
    found: Network = _named(NETWORK, key, cur, scope, {})
    return found


def read_volume(key: str, cur: NodeReader, scope: str) -> Volume:
    """One volume of the top level. Raises ComposeFileError."""
    found: Volume = _named(VOLUME, key, cur, scope, {})
    return found


def read_file(key: str, cur: NodeReader, scope: str, variables: Mapping[str, str]) -> FileSource:
    """One secret or config of the top level. Raises ComposeFileError."""
    found: FileSource = _named(SECRET, key, cur, scope, variables)
    if found.path or found.content is not None or not cur["environment"]:
        return found
    name = cur["environment"].text()
    if name not in variables:
        raise cur["environment"].fail(f'the variable "{name}" is not set')
    return replace(found, content=variables[name])


def _local_file(key: str, cur: NodeReader, scope: str, variables: Mapping[str, str]) -> FileSource:
    found = read_file(key, cur, scope, variables)
    if found.path or found.content is not None:
        return found
    if found.external:
        raise cur.fail("external ones exist in a cluster only: name a file")
    raise cur.fail('needs "file", "content" or "environment"')


def _warnings(services: Mapping[str, Service], known: Mapping[str, FileSource]) -> list[str]:
    """What one host cannot honour, though the file means it."""
    found = []
    for name, service in services.items():
        mode = service.deploy.mode if service.deploy else ""
        if mode not in ("", "replicated"):
            found.append(
                f"{service.where}: services.{name}.deploy.mode: {mode} is for clusters; "
                "one host runs it as replicated"
            )
        for grant in (*service.secrets, *service.configs):
            said = grant.uid or grant.gid or grant.mode is not None
            if said and known[grant.source].content is None:
                found.append(
                    f"{service.where}: services.{name}: uid, gid and mode of {grant.source} have "
                    "no effect: it is a file of the host and keeps its own"
                )
    return found
