"""A loaded tree to a ``Stack``: what the cluster honours, and the names of the rest."""

from __future__ import annotations

from collections.abc import Mapping

from sampan.compose.file.load import Loaded
from sampan.compose.file.node_reader import NodeReader
from sampan.compose.file.schema_types import suggestion
from sampan.compose.file.yaml_tree import Map
from sampan.compose.model.project import FileSource, Network, Volume
from sampan.compose.model.read_project import read_file, read_network, read_volume
from sampan.compose.model.read_service import read_service
from sampan.compose.model.service import Service
from sampan.compose.model.service_keys import SERVICE
from sampan.compose.model.table import Ignored
from sampan.compose.model.top_keys import CONFIG, NETWORK, SECRET
from sampan.compose.stack.model import Stack, StackFile

_SKIPPED = frozenset(key.name for key in SERVICE.keys if isinstance(key.cluster, Ignored))
"""What has no meaning here must not be a mistake here either (a fixed name and 3 replicas)."""


def read_stack(name: str, loaded: Loaded, profiles: tuple[str, ...] = ()) -> Stack:
    """The stack ``name``, with the services of the active ``profiles``.

    Raises:
        ComposeFileError: with file, line and path.
    """
    top = NodeReader(loaded.tree, "", loaded.tree.where)
    ignored: set[str] = set()
    deprecated: set[str] = set()
    networks = {k: read_network(k, c, name) for k, c in top["networks"].items()}
    volumes = {k: read_volume(k, c, name) for k, c in top["volumes"].items()}
    secrets = {k: _file(k, c, name, loaded.variables) for k, c in top["secrets"].items()}
    configs = {k: _file(k, c, name, loaded.variables) for k, c in top["configs"].items()}
    if top["models"]:
        ignored.add("models")
    for section, table in (("networks", NETWORK), ("secrets", SECRET), ("configs", CONFIG)):
        for _, cur in top[section].items():
            ignored |= {f"{section}.{word}" for word in table.ignored(cur)}
    services = {}
    for key, cur in top["services"].items():
        wanted = cur["profiles"].texts()
        if wanted and "*" not in profiles and not set(profiles) & set(wanted):
            continue
        ignored |= _ignored(cur)
        deprecated |= SERVICE.ignored(cur, deprecated=True)
        services[key] = _service(key, cur, loaded.variables)
        if any(port.host_ip for port in services[key].ports):
            ignored.add("ports.host_ip")  # also in the short form
        _check_references(cur, services[key], networks, volumes, secrets, configs)
    used = {a.network for s in services.values() for a in s.attachments}
    if "default" in used and "default" not in networks:
        networks["default"] = Network("default", f"{name}_default")
    return Stack(
        name,
        services,
        {key: network for key, network in networks.items() if key in used},
        volumes,
        secrets,
        configs,
        tuple(sorted(ignored)),
        tuple(sorted(deprecated)),
    )


def _ignored(cur: NodeReader) -> set[str]:
    found = SERVICE.ignored(cur)
    if cur["restart"] and cur["deploy"]["restart_policy"]:
        found.add("restart")
    if cur["logging"]["options"] and not cur["logging"]["driver"]:
        found.add("logging.options")  # they are a driver's
    if isinstance(cur.node, Map) and "cgroupns_mode" in cur.node.entries:
        found.add("cgroupns_mode")
    return found


def _service(key: str, cur: NodeReader, variables: Mapping[str, str]) -> Service:
    if not cur["image"]:
        hint = ": build it, name it with image:, and deploy again" if cur["build"] else ""
        raise cur.fail(f"needs an image, since a cluster does not build{hint}")
    assert isinstance(cur.node, Map)
    kept = {name: node for name, node in cur.node.entries.items() if name not in _SKIPPED}
    plain = NodeReader(Map(cur.node.where, kept, cur.node.tag), cur.path, cur.where)
    service = read_service(key, plain, variables)
    mode = service.deploy.mode if service.deploy else ""
    said = cur["deploy"]["replicas"] if cur["deploy"]["replicas"] else cur["scale"]
    if said and mode.startswith("global"):
        raise said.fail(f"replicas mean nothing in mode {mode}: it runs one on each node")
    return service


def _check_references(
    cur: NodeReader,
    one: Service,
    networks: Mapping[str, Network],
    volumes: Mapping[str, Volume],
    secrets: Mapping[str, StackFile],
    configs: Mapping[str, StackFile],
) -> None:
    wanted: list[tuple[str, str, str, Mapping[str, object]]] = []
    for attachment in one.attachments:
        if attachment.network != "default":
            wanted.append(("networks", "network", attachment.network, networks))
    for mount in one.mounts:
        if mount.kind == "volume" and mount.source:
            wanted.append(("volumes", "volume", mount.source, volumes))
        elif mount.kind == "image":
            raise cur["volumes"].fail("a cluster does not mount images: use a volume or a config")
    wanted += [("secrets", "secret", grant.source, secrets) for grant in one.secrets]
    wanted += [("configs", "config", grant.source, configs) for grant in one.configs]
    for section, kind, name, known in wanted:
        if name not in known:
            raise cur[section].fail(
                f'there is no {kind} "{name}" in the top-level {section}{suggestion(name, known)}'
            )


def _file(key: str, cur: NodeReader, stack: str, variables: Mapping[str, str]) -> StackFile:
    source = read_file(key, cur, stack, variables)
    outside = source.external or source.driver
    return StackFile(source, None if outside else _data(source, cur))


def _data(source: FileSource, cur: NodeReader) -> bytes:
    if source.path:
        try:
            with open(source.path, "rb") as file:
                return file.read()
        except OSError as error:
            raise cur["file"].fail(f"cannot read {source.path}: {error.strerror}") from None
    if source.content is not None:
        return source.content.encode()
    raise cur.fail('needs "file", "content", "environment" or "external: true"')
