"""A loaded tree to ``stack_model.Stack``: what the cluster honours, and the names of the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sampan.compose.file.load import Loaded
from sampan.compose.file.node_reader import NodeReader
from sampan.compose.file.schema_types import suggestion
from sampan.compose.file.yaml_tree import Map
from sampan.compose.model.project import Network, Volume
from sampan.compose.model.read_project import read_network, read_volume
from sampan.compose.model.read_service import read_service
from sampan.compose.stack.model import Stack, StackFile, StackService
from sampan.compose.stack.read_service import read_stack_service

_IGNORED = frozenset(
    {
        *("annotations", "attach", "blkio_config", "build", "cgroup", "cgroup_parent"),
        *("cgroupns_mode", "cpu_count", "cpu_percent", "cpu_period", "cpu_quota"),
        *("cpu_rt_period", "cpu_rt_runtime", "cpu_shares", "cpuset", "credential_spec"),
        *("depends_on", "develop", "device_cgroup_rules", "devices", "domainname"),
        *("external_links", "gpus", "ipc", "label_file", "links", "mac_address"),
        *("mem_swappiness", "memswap_limit", "models", "network_mode", "oom_kill_disable", "pid"),
        *("post_start", "pre_stop", "privileged", "provider", "pull_policy"),
        *("pull_refresh_after", "runtime", "security_opt", "shm_size", "storage_opt"),
        *("use_api_socket", "userns_mode", "uts", "volumes_from"),
    }
)
_DEPRECATED = frozenset({"container_name", "expose"})
_NETWORK_IGNORED = (
    *("ipv4_address", "ipv6_address", "link_local_ips", "mac_address"),
    *("priority", "gw_priority", "interface_name"),
)


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
    services = {}
    for key, cur in top["services"].items():
        wanted = cur["profiles"].texts()
        if wanted and "*" not in profiles and not set(profiles) & set(wanted):
            continue
        services[key] = _service(key, cur, loaded.variables, ignored, deprecated)
        _check_references(cur, services[key], networks, volumes, secrets, configs)
    used = {a.network for s in services.values() for a in s.service.attachments}
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


def _service(
    key: str,
    cur: NodeReader,
    variables: Mapping[str, str],
    ignored: set[str],
    deprecated: set[str],
) -> StackService:
    said = {name for name, _ in cur.items()} if isinstance(cur.node, Map) else set()
    ignored |= said & _IGNORED
    deprecated |= said & _DEPRECATED
    if "restart" in said and cur["deploy"]["restart_policy"]:
        ignored.add("restart")
    for _, attachment in cur["networks"].items():
        ignored |= {f"networks.{word}" for word in _NETWORK_IGNORED if attachment[word]}
    if cur["deploy"]["resources"]["reservations"]["devices"]:
        ignored.add("deploy.resources.reservations.devices")
    if not cur["image"]:
        hint = ": build it, name it with image:, and deploy again" if cur["build"] else ""
        raise cur.fail(f"needs an image, since a cluster does not build{hint}")
    # What has no meaning here must not be a mistake here either (a fixed name and 3 replicas).
    assert isinstance(cur.node, Map)
    kept = {
        name: node for name, node in cur.node.entries.items() if name not in _IGNORED | _DEPRECATED
    }
    plain = NodeReader(Map(cur.node.where, kept, cur.node.tag), cur.path, cur.where)
    service = read_service(key, plain, variables)
    return replace(read_stack_service(plain, service), isolation=cur["isolation"].text())


def _check_references(
    cur: NodeReader,
    one: StackService,
    networks: Mapping[str, Network],
    volumes: Mapping[str, Volume],
    secrets: Mapping[str, StackFile],
    configs: Mapping[str, StackFile],
) -> None:
    wanted: list[tuple[str, str, str, Mapping[str, object]]] = []
    for attachment in one.service.attachments:
        if attachment.network != "default":
            wanted.append(("networks", "network", attachment.network, networks))
    for mount in one.service.mounts:
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
    outside = cur["external"]
    external = outside.boolean() if outside.is_scalar else bool(outside)
    legacy = "" if outside.is_scalar else outside["name"].text()
    name = cur["name"].text() or legacy or (key if external else f"{stack}_{key}")
    driver = cur["driver"].text()
    return StackFile(
        key=key,
        name=name,
        external=external,
        data=None if external or driver else _data(cur, variables),
        labels=cur["labels"].strings(),
        driver=driver,
        driver_opts=cur["driver_opts"].strings(),
        template_driver=cur["template_driver"].text(),
    )


def _data(cur: NodeReader, variables: Mapping[str, str]) -> bytes:
    if cur["file"]:
        path = cur["file"].text()
        try:
            with open(path, "rb") as file:
                return file.read()
        except OSError as error:
            raise cur["file"].fail(f"cannot read {path}: {error.strerror}") from None
    if cur["content"]:
        return cur["content"].text().encode()
    if cur["environment"]:
        name = cur["environment"].text()
        if name not in variables:
            raise cur["environment"].fail(f'the variable "{name}" is not set')
        return variables[name].encode()
    raise cur.fail('needs "file", "content", "environment" or "external: true"')
