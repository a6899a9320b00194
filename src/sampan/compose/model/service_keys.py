"""Every key of a service, one line each: kind, place in the engine's create request, place in the
specification of a cluster's service. Adding a key is adding its line (and its typed field to
``Service``); shapes, reading, merging, printing, hashing and both requests follow from it.
"""

from __future__ import annotations

from sampan.compose.file import forms
from sampan.compose.file.schema_types import (
    ANYTHING,
    BOOLEAN,
    LIST_OR_MAP,
    NULL,
    NUMBER,
    STRING,
    STRING_OR_LIST,
    STRINGS,
    Form,
    ListOf,
    MapOf,
    Obj,
    Shape,
)
from sampan.compose.model import cluster_form as cluster
from sampan.compose.model import engine_form as engine
from sampan.compose.model import printers, readers
from sampan.compose.model.kinds import (
    FLAG,
    FLOAT,
    INTEGER,
    NUMBERS_OR_TEXTS,
    ONE_OR_MORE,
    OPTIONS,
    PAIRS,
    SAID_SPAN,
    SCALAR_TEXT,
    SIZE,
    SORTED_PAIRS,
    SWAP,
    TEXT,
    TEXTS,
    unread,
    word_of,
)
from sampan.compose.model.sections import (
    ATTACHMENTS,
    BLOCK_IO_KIND,
    BUILD_KIND,
    COMPOSE,
    DEPENDENCIES,
    DEPLOY_KIND,
    GPUS,
    HEALTHCHECK_KIND,
    HOSTS,
    IGNORED,
    LOGGING_KIND,
    MOUNTS,
    PORTS,
    ULIMITS,
    block_io,
    deployment,
    endpoints,
    grants,
)
from sampan.compose.model.service import Service
from sampan.compose.model.table import (
    Elsewhere,
    Ignored,
    Key,
    Kind,
    NoEffect,
    RefusedKey,
    Section,
    To,
)

DEPRECATED = Ignored(deprecated=True)
LOADER = Elsewhere("the loader, before the model is made")
PLANNER = Elsewhere("the plans of `up`")
REQUEST = Elsewhere("the request as a whole")
_WINDOWS = NoEffect("only Windows knows it")
_NO_HOOKS = NoEffect("commands beside the container's own are not run: "
                     "use an entrypoint")  # fmt: skip

_COMMAND: Shape = (STRING, STRINGS, NULL)
COMMAND = Kind(_COMMAND, readers.command, "tuple[str, ...]", form=Form(merge=forms.replaced),
               keep_empty=True)  # fmt: skip
ENVIRONMENT = Kind(LIST_OR_MAP, readers.environment, "Mapping[str, str]", SORTED_PAIRS.show,
                   Form(forms.pairs))  # fmt: skip
LABELS = ENVIRONMENT._replace(read=readers.labels)
EXPOSE = Kind(ListOf(NUMBER), readers.expose, "tuple[str, ...]", printers.expose)
RESTART = Kind(STRING, readers.restart, "str")
COUNT = Kind(NUMBER, readers.count, "int", printers.scale)
LIMITS = Kind(ULIMITS, readers.ulimits, "Mapping[str, tuple[int, int]]", printers.ulimits)
DEVICES = Kind(
    ListOf((STRING, Obj({"source": STRING, "target": STRING, "permissions": STRING}))),
    readers.devices, "tuple[str, ...]",
)  # fmt: skip
ENV_FILE: Shape = (
    STRING,
    ListOf((STRING, Obj({"path": STRING, "required": BOOLEAN, "format": STRING}))),
)
_HOOKS = ListOf(
    Obj({"command": _COMMAND, "user": STRING, "privileged": BOOLEAN, "working_dir": STRING,
         "environment": LIST_OR_MAP})
)  # fmt: skip
PULL_POLICY = word_of("always", "never", "missing", "build", also={"if_not_present": "missing"})

# fmt: off
SERVICE = Section(Service, (
    Key("annotations", PAIRS, "HostConfig.Annotations", IGNORED),
    Key("attach", FLAG, Elsewhere("`up`, which leaves its output out"), IGNORED),
    Key("blkio_config", BLOCK_IO_KIND, block_io, IGNORED, "blkio"),
    Key("build", BUILD_KIND, PLANNER, IGNORED),
    Key("cap_add", TEXTS, "HostConfig.CapAdd", To("ContainerSpec.CapabilityAdd", cluster.capabilities)),
    Key("cap_drop", TEXTS, "HostConfig.CapDrop", To("ContainerSpec.CapabilityDrop", cluster.capabilities)),
    Key("cgroup", TEXT, "HostConfig.CgroupnsMode", IGNORED),
    Key("cgroup_parent", TEXT, "HostConfig.CgroupParent", IGNORED),
    Key("command", COMMAND, "Cmd", "ContainerSpec.Args"),
    Key("configs", grants(engine.CONFIGS), REQUEST, cluster.configs),
    Key("container_name", TEXT, PLANNER, DEPRECATED),
    Key("cpu_count", unread(NUMBER), _WINDOWS, IGNORED, None),
    Key("cpu_percent", unread(NUMBER), _WINDOWS, IGNORED, None),
    Key("cpu_period", INTEGER, "HostConfig.CpuPeriod", IGNORED),
    Key("cpu_quota", INTEGER, "HostConfig.CpuQuota", IGNORED),
    Key("cpu_rt_period", INTEGER, "HostConfig.CpuRealtimePeriod", IGNORED),
    Key("cpu_rt_runtime", INTEGER, "HostConfig.CpuRealtimeRuntime", IGNORED),
    Key("cpu_shares", INTEGER, "HostConfig.CpuShares", IGNORED),
    Key("cpus", FLOAT, To("HostConfig.NanoCpus", engine.nano), To("Resources.Limits.NanoCPUs", engine.nano), also="deploy.resources.limits.cpus"),
    Key("cpuset", SCALAR_TEXT, "HostConfig.CpusetCpus", IGNORED),
    Key("credential_spec", unread(Obj({"config": STRING, "file": STRING, "registry": STRING})), _WINDOWS, IGNORED, None),
    Key("depends_on", DEPENDENCIES, PLANNER, IGNORED),
    Key("develop", unread(ANYTHING), NoEffect("there is no `compose watch`: run `up --build` after a change"), IGNORED, None),
    Key("device_cgroup_rules", TEXTS, "HostConfig.DeviceCgroupRules", IGNORED),
    Key("devices", DEVICES, To("HostConfig.Devices", engine.devices), IGNORED),
    Key("dns", ONE_OR_MORE, "HostConfig.Dns", "ContainerSpec.DNSConfig.Nameservers"),
    Key("dns_opt", TEXTS, "HostConfig.DnsOptions", "ContainerSpec.DNSConfig.Options"),
    Key("dns_search", ONE_OR_MORE, "HostConfig.DnsSearch", "ContainerSpec.DNSConfig.Search"),
    Key("domainname", TEXT, "Domainname", IGNORED),
    Key("entrypoint", COMMAND, To("Entrypoint", engine.entrypoint), "ContainerSpec.Command"),
    Key("env_file", unread(ENV_FILE, Form(forms.paths)), LOADER, LOADER, None),
    Key("environment", ENVIRONMENT, To("Env", engine.environment), To("ContainerSpec.Env", cluster.environment), always=True),
    Key("expose", EXPOSE, REQUEST, DEPRECATED),
    Key("extends", unread((STRING, Obj({"service": STRING, "file": STRING}))), LOADER, LOADER, None),
    Key("external_links", TEXTS, engine.plain_links, IGNORED),
    Key("extra_hosts", HOSTS, "HostConfig.ExtraHosts", To("ContainerSpec.Hosts", cluster.extra_hosts)),
    Key("gpus", GPUS, To("HostConfig.DeviceRequests", engine.device_requests), IGNORED, also="deploy.resources.reservations.devices"),
    Key("group_add", NUMBERS_OR_TEXTS, "HostConfig.GroupAdd", "ContainerSpec.Groups"),
    Key("healthcheck", HEALTHCHECK_KIND, "Healthcheck", "ContainerSpec.Healthcheck"),
    Key("hostname", TEXT, "Hostname", "ContainerSpec.Hostname"),
    Key("image", TEXT, REQUEST, "ContainerSpec.Image"),
    Key("init", FLAG, "HostConfig.Init", "ContainerSpec.Init"),
    Key("ipc", TEXT, engine.ipc, IGNORED),
    Key("isolation", TEXT, _WINDOWS, "ContainerSpec.Isolation"),
    Key("label_file", unread(STRING_OR_LIST, Form(forms.paths)), LOADER, IGNORED, None),
    Key("labels", LABELS, REQUEST, cluster.labels, always=True),
    Key("links", TEXTS, engine.plain_links, IGNORED),
    Key("logging", LOGGING_KIND, To("HostConfig.LogConfig", engine.logging), cluster.logging),
    Key("mac_address", TEXT, "MacAddress", IGNORED),
    Key("mem_limit", SIZE, "HostConfig.Memory", "Resources.Limits.MemoryBytes", also="deploy.resources.limits.memory"),
    Key("mem_reservation", SIZE, "HostConfig.MemoryReservation", "Resources.Reservations.MemoryBytes", also="deploy.resources.reservations.memory"),
    Key("mem_swappiness", INTEGER, "HostConfig.MemorySwappiness", IGNORED),
    Key("memswap_limit", SWAP, "HostConfig.MemorySwap", IGNORED),
    Key("models", unread(ANYTHING), NoEffect("no models are run: give their address in `environment`"), IGNORED, None),
    Key("network_mode", TEXT, engine.network_mode, IGNORED),
    Key("networks", ATTACHMENTS, endpoints, cluster.attachments, "attachments", always=True),
    Key("oom_kill_disable", FLAG, "HostConfig.OomKillDisable", IGNORED),
    Key("oom_score_adj", INTEGER, "HostConfig.OomScoreAdj", "ContainerSpec.OomScoreAdj"),
    Key("pid", TEXT, engine.pid, IGNORED),
    Key("pids_limit", INTEGER, "HostConfig.PidsLimit", cluster.pids_limit, also="deploy.resources.limits.pids"),
    Key("platform", TEXT, REQUEST, To("Placement.Platforms", cluster.platform)),
    Key("ports", PORTS, engine.ports, cluster.ports),
    Key("post_start", unread(_HOOKS), _NO_HOOKS, IGNORED, None),
    Key("pre_stop", unread(_HOOKS), _NO_HOOKS, IGNORED, None),
    Key("privileged", FLAG, "HostConfig.Privileged", IGNORED),
    Key("profiles", TEXTS, LOADER, LOADER),
    Key("provider", unread(Obj({"type": STRING, "options": MapOf(ANYTHING)})), RefusedKey("providers are programs of docker compose: start it yourself and name its address"), IGNORED, None),
    Key("pull_policy", PULL_POLICY, PLANNER, IGNORED),
    Key("pull_refresh_after", unread(STRING), NoEffect("images are not refreshed by age: `pull_policy: always` asks each time"), IGNORED, None),
    Key("read_only", FLAG, "HostConfig.ReadonlyRootfs", "ContainerSpec.ReadOnly"),
    Key("restart", RESTART, To("HostConfig.RestartPolicy", engine.restart), cluster.restart, always=True),
    Key("runtime", TEXT, "HostConfig.Runtime", IGNORED),
    Key("scale", COUNT, PLANNER, COMPOSE, also="deploy.replicas"),
    Key("secrets", grants(engine.SECRETS), REQUEST, cluster.secrets),
    Key("security_opt", TEXTS, "HostConfig.SecurityOpt", IGNORED),
    Key("shm_size", SIZE, "HostConfig.ShmSize", IGNORED),
    Key("stdin_open", FLAG, "OpenStdin", "ContainerSpec.OpenStdin"),
    Key("stop_grace_period", SAID_SPAN, To("StopTimeout", engine.stop_timeout), "ContainerSpec.StopGracePeriod", "stop_grace_ns"),
    Key("stop_signal", TEXT, "StopSignal", "ContainerSpec.StopSignal"),
    Key("storage_opt", OPTIONS, "HostConfig.StorageOpt", IGNORED),
    Key("sysctls", PAIRS, "HostConfig.Sysctls", "ContainerSpec.Sysctls"),
    Key("tmpfs", ONE_OR_MORE, To("HostConfig.Tmpfs", engine.tmpfs), REQUEST),
    Key("tty", FLAG, "Tty", "ContainerSpec.TTY"),
    Key("ulimits", LIMITS, To("HostConfig.Ulimits", engine.ulimits), To("ContainerSpec.Ulimits", cluster.sorted_ulimits)),
    Key("use_api_socket", unread(BOOLEAN), NoEffect("mount the engine's socket under `volumes`"), IGNORED, None),
    Key("user", SCALAR_TEXT, "User", "ContainerSpec.User"),
    Key("userns_mode", TEXT, "HostConfig.UsernsMode", IGNORED),
    Key("uts", TEXT, "HostConfig.UTSMode", IGNORED),
    Key("volumes", MOUNTS, engine.mounts, REQUEST, "mounts"),
    Key("volumes_from", TEXTS, engine.volumes_from, IGNORED),
    Key("working_dir", TEXT, "WorkingDir", "ContainerSpec.Dir"),
    # Last, since a cluster takes its word over that of `mem_limit`, `restart` and the like.
    Key("deploy", DEPLOY_KIND, PLANNER, deployment),
))
# fmt: on
