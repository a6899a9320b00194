"""The keys of the mappings inside of a service: one line a key. ``service_keys`` has the service's.

``engine`` and ``cluster`` name members of the part of the request that the whole section makes.
"""

from __future__ import annotations

from typing import Any

from sampan.compose.file import forms
from sampan.compose.file.schema_types import (
    BOOLEAN,
    LIST_OR_MAP,
    NULL,
    NUMBER,
    SCALAR,
    STRING,
    STRINGS,
    Form,
    ListOf,
    MapOf,
    Obj,
    Shape,
)
from sampan.compose.model import cluster_form, printers, readers
from sampan.compose.model.engine_form import MadeFor, Places, links, rates, weights
from sampan.compose.model.kinds import (
    FLOAT,
    INTEGER,
    OPTIONS,
    PAIRS,
    SAID_SPAN,
    SHOWN_WHEN_ON,
    SIZE,
    SPAN,
    TEXT,
    TEXTS,
    not_zero,
    unread,
    word_of,
)
from sampan.compose.model.table import (
    Elsewhere,
    Ignored,
    Key,
    Kind,
    NoEffect,
    Section,
    To,
    section_kind,
)
from sampan.compose.model.values import (
    Amounts,
    BlockIo,
    Build,
    Deploy,
    Grant,
    Healthcheck,
    Logging,
    NetworkAttachment,
    Placement,
    Port,
    Resources,
    RestartPolicy,
    Rollout,
)

IGNORED = Ignored()
COMPOSE = Elsewhere("compose itself")
READER = Elsewhere("the reader of the whole value")
ON_A_CLUSTER = NoEffect("it is for clusters, where `stack deploy` honours it")
CLUSTER = Elsewhere("a cluster; the section that it is in warns on one host")
ULIMITS = MapOf((NUMBER, Obj({"soft": NUMBER, "hard": NUMBER})))
EXTRA_HOSTS: Shape = (MapOf((STRING, STRINGS)), STRINGS)
HOSTS = Kind(EXTRA_HOSTS, readers.hosts, "tuple[str, ...]", form=Form(merge=forms.hosts))

DEVICE_REQUESTS = ListOf(
    Obj(
        {
            "capabilities": STRINGS,
            "count": NUMBER,
            "device_ids": STRINGS,
            "driver": STRING,
            "options": LIST_OR_MAP,
        },
        forms={"options": Form(forms.pairs)},
    )
)
GPUS = Kind(
    (STRING, DEVICE_REQUESTS),
    readers.device_requests,
    "tuple[DeviceRequest, ...]",
    printers.device_requests,
)

# fmt: off
_CLASSIC = NoEffect("the builder's classic protocol, which `compose build` speaks, cannot say it")
_INT = INTEGER.printed(not_zero)
BUILD = Section(Build, (
    Key("context", TEXT, COMPOSE, IGNORED),
    Key("dockerfile", TEXT, COMPOSE, IGNORED),
    Key("dockerfile_inline", TEXT, COMPOSE, IGNORED, "inline"),
    Key("args", Kind(LIST_OR_MAP, readers.build_args, "Mapping[str, str | None]",
                     form=Form(forms.pairs)), "build_args", IGNORED),
    Key("labels", PAIRS, "labels", IGNORED),
    Key("cache_from", TEXTS, "cache_from", IGNORED),
    Key("target", TEXT, "target", IGNORED),
    Key("network", TEXT, "network", IGNORED),
    Key("extra_hosts", HOSTS, "extra_hosts", IGNORED),
    Key("tags", TEXTS, "tags", IGNORED),
    Key("no_cache", SHOWN_WHEN_ON, "no_cache", IGNORED),
    Key("pull", SHOWN_WHEN_ON, "pull", IGNORED),
    Key("shm_size", SIZE.printed(not_zero), "shm_size", IGNORED),
    Key("additional_contexts", unread(LIST_OR_MAP, Form(forms.pairs)), _CLASSIC, IGNORED, None),
    Key("cache_to", unread(STRINGS), _CLASSIC, IGNORED, None),
    Key("entitlements", unread(STRINGS), _CLASSIC, IGNORED, None),
    Key("isolation", unread(STRING), NoEffect("only Windows has another one"), IGNORED, None),
    Key("platforms", unread(STRINGS), NoEffect("the image of one platform is built: `platform` "
                                               "of the service says which"), IGNORED, None),
    Key("privileged", unread(BOOLEAN), _CLASSIC, IGNORED, None),
    Key("provenance", unread(SCALAR), _CLASSIC, IGNORED, None),
    Key("sbom", unread(SCALAR), _CLASSIC, IGNORED, None),
    Key("secrets", unread(ListOf((STRING, Obj({
        "source": STRING, "target": STRING, "uid": SCALAR, "gid": SCALAR, "mode": NUMBER,
    })))), _CLASSIC, IGNORED, None),
    Key("ssh", unread(LIST_OR_MAP, Form(forms.pairs)), _CLASSIC, IGNORED, None),
    Key("ulimits", unread(ULIMITS), _CLASSIC, IGNORED, None),
))
BUILD_KIND = section_kind(BUILD, "Build", wrap=lambda obj: (STRING, obj), form=Form(forms.build))


def _build_data(value: Build | None) -> dict[str, Any] | None:
    if value is None:
        return None
    data = BUILD.data(value)
    if value.inline:
        del data["dockerfile"]
    return data


BUILD_KIND = BUILD_KIND.printed(_build_data)

HEALTHCHECK = Section(Healthcheck, (
    Key("test", Kind((STRING, STRINGS), readers.health_test, "tuple[str, ...]",
                     form=Form(merge=forms.replaced)), "Test", "Test", always=True),
    Key("interval", SPAN, "Interval", "Interval", "interval_ns"),
    Key("timeout", SPAN, "Timeout", "Timeout", "timeout_ns"),
    Key("retries", _INT, "Retries", "Retries"),
    Key("start_period", SPAN, "StartPeriod", "StartPeriod", "start_period_ns"),
    Key("start_interval", SPAN, "StartInterval", "StartInterval", "start_interval_ns"),
    Key("disable", unread(BOOLEAN), READER, READER, None),
))


def _health_data(value: Healthcheck | None) -> dict[str, Any] | None:
    if value is not None and value.test == ("NONE",):
        return {"disable": True}
    return None if value is None else HEALTHCHECK.data(value)


HEALTHCHECK_KIND = section_kind(HEALTHCHECK, "Healthcheck", show=_health_data)

LOGGING = Section(Logging, (
    Key("driver", TEXT, "Type", "Name"),
    Key("options", OPTIONS, "Config", "Options"),
))
LOGGING_KIND = section_kind(LOGGING, "Logging", form=Form(merge=forms.logging))

PORT = Section(Port, (
    Key("target", unread(NUMBER), READER, READER, None),
    Key("published", unread(NUMBER), READER, READER, None),
    Key("host_ip", unread(STRING), READER, IGNORED, None),
    Key("protocol", unread(STRING), READER, READER, None),
    Key("mode", unread(STRING), READER, READER, None),
    Key("name", unread(STRING), READER, READER, None),
    Key("app_protocol", unread(STRING), READER, IGNORED, None),
), frozenset({"target"}))
PORTS = section_kind(PORT, "tuple[Port, ...]", wrap=lambda obj: ListOf((NUMBER, obj)),
                     read=readers.ports, show=printers.ports)

BIND = Section(dict, (
    Key("propagation", unread(STRING), READER, READER, None),
    Key("create_host_path", unread(BOOLEAN), READER, IGNORED, None),
    Key("recursive", unread(STRING), NoEffect("what is mounted below the source comes along"),
        IGNORED, None),
    Key("selinux", unread(STRING), READER, IGNORED, None),
))
MOUNT = Section(dict, (
    Key("type", unread(STRING), READER, READER, None),
    Key("source", unread(STRING), READER, READER, None),
    Key("target", unread(STRING), READER, READER, None),
    Key("read_only", unread(BOOLEAN), READER, READER, None),
    Key("consistency", unread(STRING), NoEffect("containers and host share one file system here"),
        IGNORED, None),
    Key("bind", section_kind(BIND, "None"), READER, READER, None),
    Key("volume", unread(Obj({"nocopy": BOOLEAN, "subpath": STRING, "labels": LIST_OR_MAP},
                             forms={"labels": Form(forms.pairs)})), READER, READER, None),
    Key("tmpfs", unread(Obj({"size": NUMBER, "mode": NUMBER})), READER, READER, None),
    Key("image", unread(Obj({"subpath": STRING})), READER, READER, None),
), frozenset({"type"}))
MOUNTS = section_kind(MOUNT, "tuple[Mount, ...]", wrap=lambda obj: ListOf((STRING, obj)),
                      read=readers.mounts, show=printers.mounts, form=Form(forms.mounts))

ATTACHMENT = Section(NetworkAttachment, (
    Key("aliases", TEXTS, READER, READER),
    Key("ipv4_address", TEXT, "IPAMConfig.IPv4Address", IGNORED, "ipv4"),
    Key("ipv6_address", TEXT, "IPAMConfig.IPv6Address", IGNORED, "ipv6"),
    Key("link_local_ips", TEXTS, NoEffect("the engine gives no link-local addresses"), IGNORED,
        "link_local"),
    Key("mac_address", TEXT, "MacAddress", IGNORED, "mac"),
    Key("driver_opts", OPTIONS, "DriverOpts", READER),
    Key("priority", _INT, COMPOSE, IGNORED),
    Key("gw_priority", _INT, "GwPriority", IGNORED),
    Key("interface_name", unread(STRING), NoEffect("the engine names interfaces"), IGNORED, None),
))
ATTACHMENTS = section_kind(
    ATTACHMENT, "tuple[NetworkAttachment, ...]",
    wrap=lambda obj: (STRINGS, MapOf((obj, NULL))),
    read=readers.attachments(ATTACHMENT.fields),
    show=lambda value: {one.network: ATTACHMENT.data(one) or None for one in value},
    form=Form(forms.names(forms.nothing)),
)

DEPENDENCY = Section(dict, (
    Key("condition", unread(STRING), READER, IGNORED, None),
    Key("required", unread(BOOLEAN), READER, IGNORED, None),
    Key("restart", unread(BOOLEAN), READER, IGNORED, None),
))
DEPENDENCIES = section_kind(
    DEPENDENCY, "tuple[Dependency, ...]", wrap=lambda obj: (STRINGS, MapOf(obj)),
    read=readers.dependencies, show=printers.dependencies,
    form=Form(forms.names(forms.started)),
)

GRANT = Section(Grant, (
    Key("source", unread(STRING), READER, READER, None),
    Key("target", unread(STRING), READER, READER, None),
    Key("uid", unread(SCALAR), READER, READER, None),
    Key("gid", unread(SCALAR), READER, READER, None),
    Key("mode", unread(NUMBER), READER, READER, None),
), frozenset({"source"}))


def grants(folder: str) -> Kind:
    """Secrets or configs, whose files are in ``folder`` unless they say where."""
    return section_kind(GRANT, "tuple[Grant, ...]", wrap=lambda obj: ListOf((STRING, obj)),
                        read=readers.grants, show=printers.grants(folder))


def _throttles(amount: str) -> Kind:
    return Kind(ListOf(Obj({"path": STRING, amount: NUMBER}, required=frozenset({"path", amount}))),
                readers.throttles(amount), "tuple[Throttle, ...]", printers.throttles(amount))


BLOCK_IO = Section(BlockIo, (
    Key("weight", INTEGER, "BlkioWeight", IGNORED),
    Key("weight_device", _throttles("weight"), To("BlkioWeightDevice", weights), IGNORED),
    Key("device_read_bps", _throttles("rate"), To("BlkioDeviceReadBps", rates), IGNORED),
    Key("device_read_iops", _throttles("rate"), To("BlkioDeviceReadIOps", rates), IGNORED),
    Key("device_write_bps", _throttles("rate"), To("BlkioDeviceWriteBps", rates), IGNORED),
    Key("device_write_iops", _throttles("rate"), To("BlkioDeviceWriteIOps", rates), IGNORED),
))
BLOCK_IO_KIND = section_kind(BLOCK_IO, "BlockIo")


def _rollout(*actions: str) -> Section:
    return Section(Rollout, (
        Key("parallelism", INTEGER, CLUSTER, "Parallelism"),
        Key("delay", SAID_SPAN, CLUSTER, "Delay", "delay_ns"),
        Key("failure_action", word_of(*actions, lower=True), CLUSTER, "FailureAction"),
        Key("monitor", SAID_SPAN, CLUSTER, "Monitor", "monitor_ns"),
        Key("max_failure_ratio", FLOAT, CLUSTER, "MaxFailureRatio"),
        Key("order", word_of("stop-first", "start-first", lower=True), CLUSTER, "Order"),
    ))


UPDATE = _rollout("continue", "rollback", "pause")
ROLLBACK = _rollout("continue", "pause")
PLACEMENT = Section(Placement, (
    Key("constraints", TEXTS, CLUSTER, "Constraints"),
    Key("preferences", Kind(ListOf(Obj({"spread": STRING})), readers.spread, "tuple[str, ...]",
                            printers.spread),
        CLUSTER, To("Preferences", cluster_form.spread), "spread"),
    Key("max_replicas_per_node", INTEGER, CLUSTER, "MaxReplicas", "max_per_node"),
))
_GENERIC = ListOf(Obj({"discrete_resource_spec": Obj({"kind": STRING, "value": NUMBER})}))
LIMITS = Section(Amounts, (
    Key("cpus", FLOAT, COMPOSE, COMPOSE),
    Key("memory", SIZE, COMPOSE, COMPOSE),
    Key("pids", INTEGER, COMPOSE, COMPOSE),
))
RESERVATIONS = Section(Amounts, (
    Key("cpus", FLOAT, ON_A_CLUSTER, COMPOSE),
    Key("memory", SIZE, COMPOSE, COMPOSE),
    Key("generic_resources", Kind(_GENERIC, readers.generic_resources,
                                  "tuple[tuple[str, int], ...]", printers.generic_resources),
        ON_A_CLUSTER, COMPOSE, "generic"),
    Key("devices", GPUS._replace(shape=DEVICE_REQUESTS), COMPOSE, IGNORED),
))
RESOURCES = Section(Resources, (
    Key("limits", section_kind(LIMITS, "Amounts"), COMPOSE, cluster_form.amounts("Limits")),
    Key("reservations", section_kind(RESERVATIONS, "Amounts"), COMPOSE,
        cluster_form.amounts("Reservations")),
))
RESTART_POLICY = Section(RestartPolicy, (
    Key("condition", word_of("any", "on-failure", "none"), COMPOSE, COMPOSE),
    Key("delay", SAID_SPAN, ON_A_CLUSTER, COMPOSE, "delay_ns"),
    Key("max_attempts", INTEGER, COMPOSE, COMPOSE),
    Key("window", SAID_SPAN, ON_A_CLUSTER, COMPOSE, "window_ns"),
))
DEPLOY = Section(Deploy, (
    Key("mode", word_of("replicated", "global", "replicated-job", "global-job"),
        COMPOSE, COMPOSE),
    Key("endpoint_mode", word_of("vip", "dnsrr", lower=True), ON_A_CLUSTER, "EndpointSpec.Mode"),
    Key("replicas", Kind(NUMBER, readers.count, "int"), COMPOSE, COMPOSE),
    Key("labels", PAIRS, ON_A_CLUSTER, COMPOSE),
    Key("placement", section_kind(PLACEMENT, "Placement"), ON_A_CLUSTER, "Placement"),
    Key("resources", section_kind(RESOURCES, "Resources"), COMPOSE, "Resources"),
    Key("restart_policy", section_kind(RESTART_POLICY, "RestartPolicy"), COMPOSE,
        cluster_form.restart_policy),
    Key("update_config", section_kind(UPDATE, "Rollout"), ON_A_CLUSTER, "UpdateConfig", "update"),
    Key("rollback_config", section_kind(ROLLBACK, "Rollout"), ON_A_CLUSTER, "RollbackConfig",
        "rollback"),
))
DEPLOY_KIND = section_kind(DEPLOY, "Deploy")
# fmt: on


def endpoints(value: tuple[NetworkAttachment, ...], made_for: MadeFor) -> Places:
    """The first network makes the mode; each is an endpoint."""
    networks = made_for.project.networks
    yield "HostConfig.NetworkMode", networks[value[0].network].name
    linked = links(made_for.service, made_for.containers)
    found: dict[str, Any] = {}
    for one in value:
        names = [made_for.name, made_for.service.name, *one.aliases]
        data: dict[str, Any] = {"Aliases": list(dict.fromkeys(names))}
        data |= ATTACHMENT.request(one, made_for)
        if linked:
            data["Links"] = linked
        found[networks[one.network].name] = data
    yield "NetworkingConfig.EndpointsConfig", found


def block_io(value: BlockIo, _made_for: Any) -> Places:
    """Beside the other limits of the host's configuration."""
    yield from _members("HostConfig", BLOCK_IO.request(value, None))


def deployment(value: Deploy, made_for: Any) -> Places:
    """Resources and placement join what other keys say there; the rest stands alone."""
    for part, said in DEPLOY.request(value, made_for, cluster=True).items():
        if part in ("Resources", "Placement", "EndpointSpec"):
            yield from _members(part, said)
        else:
            yield part, said


def _members(path: str, value: Any) -> Places:
    if not isinstance(value, dict):
        yield path, value
        return
    for name, inner in value.items():
        yield from _members(f"{path}.{name}", inner)
