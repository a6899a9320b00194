"""A loaded tree to ``model.Project``: the last step that can complain about the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sampan.compose.errors import ComposeFileError
from sampan.compose.file.load import Loaded
from sampan.compose.file.node_reader import NodeReader
from sampan.compose.file.schema_types import suggestion
from sampan.compose.model.project import FileSource, Network, Project, Service, Volume
from sampan.compose.model.read_service import read_service


def read(loaded: Loaded, profiles: tuple[str, ...] = (), named: tuple[str, ...] = ()) -> Project:
    """The project with the services of the active ``profiles``; ``named`` ones are always in.

    Raises:
        ComposeFileError: with file, line and path.
    """
    top = NodeReader(loaded.tree, "", loaded.tree.where)
    every = {
        name: read_service(name, item, loaded.variables) for name, item in top["services"].items()
    }
    secrets = {k: _file(k, c, loaded.variables) for k, c in top["secrets"].items()}
    configs = {k: _file(k, c, loaded.variables) for k, c in top["configs"].items()}
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
    return service if kept == service.depends_on else replace(service, depends_on=kept)


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


def _external(cur: NodeReader) -> tuple[bool, str]:
    if cur["external"].is_scalar:
        return cur["external"].boolean(), ""
    return bool(cur["external"]), cur["external"]["name"].text()


def read_network(key: str, cur: NodeReader, project: str) -> Network:
    """One network of the top level. Raises ComposeFileError."""
    external, legacy_name = _external(cur)
    name = cur["name"].text() or legacy_name or (key if external else f"{project}_{key}")
    pools = []
    for item in cur["ipam"]["config"]:
        pool: dict[str, object] = {
            k: item[k].text() for k in ("subnet", "ip_range", "gateway") if item[k]
        }
        if item["aux_addresses"]:
            pool["aux_addresses"] = item["aux_addresses"].strings()
        pools.append(pool)
    return Network(
        key,
        name,
        external,
        cur["driver"].text(),
        cur["driver_opts"].strings(),
        cur["ipam"]["driver"].text(),
        tuple(pools),
        cur["ipam"]["options"].strings(),
        cur["internal"].boolean(),
        cur["attachable"].boolean(),
        cur["enable_ipv6"].boolean(),
        cur["labels"].strings(),
    )


def read_volume(key: str, cur: NodeReader, project: str) -> Volume:
    """One volume of the top level. Raises ComposeFileError."""
    external, legacy_name = _external(cur)
    return Volume(
        key,
        cur["name"].text() or legacy_name or (key if external else f"{project}_{key}"),
        external,
        cur["driver"].text(),
        cur["driver_opts"].strings(),
        cur["labels"].strings(),
    )


def _file(key: str, cur: NodeReader, variables: Mapping[str, str]) -> FileSource:
    if cur["file"]:
        return FileSource(key, cur["file"].text())
    if cur["content"]:
        return FileSource(key, content=cur["content"].text())
    if cur["environment"]:
        name = cur["environment"].text()
        if name not in variables:
            raise cur["environment"].fail(f'the variable "{name}" is not set')
        return FileSource(key, content=variables[name])
    if _external(cur)[0]:
        raise cur.fail("external ones exist in a cluster only: name a file")
    raise cur.fail('needs "file", "content" or "environment"')
