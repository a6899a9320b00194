"""Every key that the Compose specification knows, its shape, and whether it has an effect here."""

from __future__ import annotations

from sampan.compose.file.schema_types import (
    ANYTHING,
    BOOLEAN,
    LIST_OR_MAP,
    NULL,
    NUMBER,
    SCALAR,
    STRING,
    STRING_OR_LIST,
    STRINGS,
    ListOf,
    MapOf,
    Obj,
    Shape,
)

COMMAND: Shape = (STRING, STRINGS, NULL)
EXTERNAL: Shape = (BOOLEAN, Obj({"name": STRING}))
ULIMITS = MapOf((NUMBER, Obj({"soft": NUMBER, "hard": NUMBER})))
EXTRA_HOSTS: Shape = (MapOf((STRING, STRINGS)), STRINGS)

FILE_GRANT = ListOf(
    (
        STRING,
        Obj(
            {"source": STRING, "target": STRING, "uid": SCALAR, "gid": SCALAR, "mode": NUMBER},
            ignored=frozenset({"uid", "gid", "mode"}),
            required=frozenset({"source"}),
        ),
    )
)

BUILD = Obj(
    {
        "context": STRING,
        "dockerfile": STRING,
        "dockerfile_inline": STRING,
        "args": LIST_OR_MAP,
        "labels": LIST_OR_MAP,
        "cache_from": STRINGS,
        "cache_to": STRINGS,
        "no_cache": BOOLEAN,
        "pull": BOOLEAN,
        "target": STRING,
        "network": STRING,
        "shm_size": NUMBER,
        "extra_hosts": EXTRA_HOSTS,
        "tags": STRINGS,
        "additional_contexts": LIST_OR_MAP,
        "entitlements": STRINGS,
        "ssh": LIST_OR_MAP,
        "isolation": STRING,
        "privileged": BOOLEAN,
        "secrets": FILE_GRANT,
        "ulimits": ULIMITS,
        "platforms": STRINGS,
        "provenance": SCALAR,
        "sbom": SCALAR,
    },
    ignored=frozenset(
        {
            "cache_to",
            "additional_contexts",
            "entitlements",
            "ssh",
            "isolation",
            "privileged",
            "secrets",
            "ulimits",
            "platforms",
            "provenance",
            "sbom",
        }
    ),
)

HEALTHCHECK = Obj(
    {
        "disable": BOOLEAN,
        "test": (STRING, STRINGS),
        "interval": STRING,
        "timeout": STRING,
        "retries": NUMBER,
        "start_period": STRING,
        "start_interval": STRING,
    }
)

_RESOURCES = Obj(
    {
        "limits": Obj({"cpus": NUMBER, "memory": NUMBER, "pids": NUMBER}),
        "reservations": Obj(
            {
                "cpus": NUMBER,
                "memory": NUMBER,
                "generic_resources": ANYTHING,
                "devices": ANYTHING,
            },
            ignored=frozenset({"cpus", "generic_resources", "devices"}),
        ),
    }
)

DEPLOY = Obj(
    {
        "mode": STRING,
        "endpoint_mode": STRING,
        "replicas": NUMBER,
        "labels": LIST_OR_MAP,
        "rollback_config": ANYTHING,
        "update_config": ANYTHING,
        "placement": ANYTHING,
        "resources": _RESOURCES,
        "restart_policy": Obj(
            {"condition": STRING, "delay": STRING, "max_attempts": NUMBER, "window": STRING}
        ),
    },
    # What only a cluster can honour is silent on one host: the same file serves both.
)

PORT = (
    NUMBER,
    Obj(
        {
            "target": NUMBER,
            "published": NUMBER,
            "host_ip": STRING,
            "protocol": STRING,
            "mode": STRING,
            "name": STRING,
            "app_protocol": STRING,
        },
        required=frozenset({"target"}),
    ),
)

VOLUME_MOUNT = (
    STRING,
    Obj(
        {
            "type": STRING,
            "source": STRING,
            "target": STRING,
            "read_only": BOOLEAN,
            "consistency": STRING,
            "bind": Obj(
                {
                    "propagation": STRING,
                    "create_host_path": BOOLEAN,
                    "recursive": STRING,
                    "selinux": STRING,
                },
                ignored=frozenset({"recursive", "selinux"}),
            ),
            "volume": Obj({"nocopy": BOOLEAN, "subpath": STRING, "labels": LIST_OR_MAP}),
            "tmpfs": Obj({"size": NUMBER, "mode": NUMBER}),
            "image": Obj({"subpath": STRING}),
        },
        required=frozenset({"type"}),
    ),
)

SERVICE_NETWORK = Obj(
    {
        "aliases": STRINGS,
        "interface_name": STRING,
        "ipv4_address": STRING,
        "ipv6_address": STRING,
        "link_local_ips": STRINGS,
        "mac_address": STRING,
        "driver_opts": MapOf(SCALAR),
        "priority": NUMBER,
        "gw_priority": NUMBER,
    },
    ignored=frozenset({"interface_name"}),
)

SERVICE = Obj(
    {
        "annotations": LIST_OR_MAP,
        "attach": BOOLEAN,
        "build": (STRING, BUILD),
        "blkio_config": ANYTHING,
        "cap_add": STRINGS,
        "cap_drop": STRINGS,
        "cgroup": STRING,
        "cgroup_parent": STRING,
        "command": COMMAND,
        "configs": FILE_GRANT,
        "container_name": STRING,
        "cpu_count": NUMBER,
        "cpu_percent": NUMBER,
        "cpu_shares": NUMBER,
        "cpu_quota": NUMBER,
        "cpu_period": NUMBER,
        "cpu_rt_period": NUMBER,
        "cpu_rt_runtime": NUMBER,
        "cpus": NUMBER,
        "cpuset": SCALAR,
        "credential_spec": ANYTHING,
        "depends_on": (
            STRINGS,
            MapOf(Obj({"condition": STRING, "required": BOOLEAN, "restart": BOOLEAN})),
        ),
        "deploy": DEPLOY,
        "develop": ANYTHING,
        "device_cgroup_rules": STRINGS,
        "devices": ListOf(
            (STRING, Obj({"source": STRING, "target": STRING, "permissions": STRING}))
        ),
        "dns": STRING_OR_LIST,
        "dns_opt": STRINGS,
        "dns_search": STRING_OR_LIST,
        "domainname": STRING,
        "entrypoint": COMMAND,
        "env_file": (
            STRING,
            ListOf((STRING, Obj({"path": STRING, "required": BOOLEAN, "format": STRING}))),
        ),
        "environment": LIST_OR_MAP,
        "expose": ListOf(NUMBER),
        "extends": (STRING, Obj({"service": STRING, "file": STRING})),
        "external_links": STRINGS,
        "extra_hosts": EXTRA_HOSTS,
        "gpus": ANYTHING,
        "group_add": ListOf(NUMBER),
        "healthcheck": HEALTHCHECK,
        "hostname": STRING,
        "image": STRING,
        "init": BOOLEAN,
        "ipc": STRING,
        "isolation": STRING,
        "label_file": STRING_OR_LIST,
        "labels": LIST_OR_MAP,
        "links": STRINGS,
        "logging": Obj({"driver": STRING, "options": MapOf(SCALAR)}),
        "mac_address": STRING,
        "mem_limit": NUMBER,
        "mem_reservation": NUMBER,
        "mem_swappiness": NUMBER,
        "memswap_limit": NUMBER,
        "models": ANYTHING,
        "network_mode": STRING,
        "networks": (STRINGS, MapOf((SERVICE_NETWORK, NULL))),
        "oom_kill_disable": BOOLEAN,
        "oom_score_adj": NUMBER,
        "pid": STRING,
        "pids_limit": NUMBER,
        "platform": STRING,
        "ports": ListOf(PORT),
        "post_start": ANYTHING,
        "pre_stop": ANYTHING,
        "privileged": BOOLEAN,
        "profiles": STRINGS,
        "provider": ANYTHING,
        "pull_policy": STRING,
        "pull_refresh_after": STRING,
        "read_only": BOOLEAN,
        "restart": STRING,
        "runtime": STRING,
        "scale": NUMBER,
        "secrets": FILE_GRANT,
        "security_opt": STRINGS,
        "shm_size": NUMBER,
        "stdin_open": BOOLEAN,
        "stop_grace_period": STRING,
        "stop_signal": STRING,
        "storage_opt": MapOf(SCALAR),
        "sysctls": LIST_OR_MAP,
        "tmpfs": STRING_OR_LIST,
        "tty": BOOLEAN,
        "ulimits": ULIMITS,
        "use_api_socket": BOOLEAN,
        "user": SCALAR,
        "userns_mode": STRING,
        "uts": STRING,
        "volumes": ListOf(VOLUME_MOUNT),
        "volumes_from": STRINGS,
        "working_dir": STRING,
    },
    ignored=frozenset(
        {
            "annotations",
            "blkio_config",
            "cpu_count",
            "cpu_percent",
            "credential_spec",
            "develop",
            "gpus",
            "isolation",
            "label_file",
            "models",
            "post_start",
            "pre_stop",
            "provider",
            "pull_refresh_after",
            "use_api_socket",
            "device_cgroup_rules",
            "storage_opt",
        }
    ),
)

NETWORK = Obj(
    {
        "name": STRING,
        "driver": STRING,
        "driver_opts": MapOf(SCALAR),
        "ipam": Obj(
            {
                "driver": STRING,
                "config": ListOf(
                    Obj(
                        {
                            "subnet": STRING,
                            "ip_range": STRING,
                            "gateway": STRING,
                            "aux_addresses": MapOf(STRING),
                        }
                    )
                ),
                "options": MapOf(SCALAR),
            }
        ),
        "external": EXTERNAL,
        "internal": BOOLEAN,
        "enable_ipv4": BOOLEAN,
        "enable_ipv6": BOOLEAN,
        "attachable": BOOLEAN,
        "labels": LIST_OR_MAP,
    },
    ignored=frozenset({"enable_ipv4"}),
)

VOLUME = Obj(
    {
        "name": STRING,
        "driver": STRING,
        "driver_opts": MapOf(SCALAR),
        "external": EXTERNAL,
        "labels": LIST_OR_MAP,
    }
)

FILE = Obj(
    {
        "name": STRING,
        "file": STRING,
        "environment": STRING,
        "content": STRING,
        "external": EXTERNAL,
        "labels": LIST_OR_MAP,
        "driver": STRING,
        "driver_opts": MapOf(SCALAR),
        "template_driver": STRING,
    },
    ignored=frozenset({"driver", "driver_opts", "template_driver"}),
)

INCLUDE = ListOf(
    (
        STRING,
        Obj({"path": STRING_OR_LIST, "env_file": STRING_OR_LIST, "project_directory": STRING}),
    )
)

TOP = Obj(
    {
        "version": SCALAR,
        "name": STRING,
        "include": INCLUDE,
        "services": MapOf(SERVICE),
        "networks": MapOf((NETWORK, NULL)),
        "volumes": MapOf((VOLUME, NULL)),
        "secrets": MapOf(FILE),
        "configs": MapOf(FILE),
        "models": ANYTHING,
    },
    ignored=frozenset({"models"}),
)
