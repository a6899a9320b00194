"""The keys of a compose file as a cluster reads them: more of them count than on one host."""

from __future__ import annotations

from sampan.compose.file.schema_types import (
    ANYTHING,
    LIST_OR_MAP,
    NULL,
    NUMBER,
    SCALAR,
    STRING,
    STRINGS,
    ListOf,
    MapOf,
    Obj,
)
from sampan.compose.model import schema

_GRANTS = ListOf(
    (
        STRING,
        Obj(
            {"source": STRING, "target": STRING, "uid": SCALAR, "gid": SCALAR, "mode": NUMBER},
            required=frozenset({"source"}),
        ),
    )
)
_ROLLOUT = Obj(
    {
        "parallelism": NUMBER,
        "delay": STRING,
        "failure_action": STRING,
        "monitor": STRING,
        "max_failure_ratio": NUMBER,
        "order": STRING,
    }
)
_DEPLOY = Obj(
    {
        "mode": STRING,
        "endpoint_mode": STRING,
        "replicas": NUMBER,
        "labels": LIST_OR_MAP,
        "update_config": _ROLLOUT,
        "rollback_config": _ROLLOUT,
        "placement": Obj(
            {
                "constraints": STRINGS,
                "preferences": ListOf(Obj({"spread": STRING})),
                "max_replicas_per_node": NUMBER,
            }
        ),
        "resources": Obj(
            {
                "limits": Obj({"cpus": NUMBER, "memory": NUMBER, "pids": NUMBER}),
                "reservations": Obj(
                    {
                        "cpus": NUMBER,
                        "memory": NUMBER,
                        "generic_resources": ListOf(
                            Obj({"discrete_resource_spec": Obj({"kind": STRING, "value": NUMBER})})
                        ),
                        "devices": ANYTHING,
                    }
                ),
            }
        ),
        "restart_policy": Obj(
            {"condition": STRING, "delay": STRING, "max_attempts": NUMBER, "window": STRING}
        ),
    }
)
_SERVICE = Obj(
    {
        **schema.SERVICE.keys,
        "cgroupns_mode": STRING,
        "configs": _GRANTS,
        "secrets": _GRANTS,
        "deploy": _DEPLOY,
    }
)
# What a cluster does not honour is told in one sentence for all services, not key by key.
_FILE = Obj(schema.FILE.keys)
_NETWORK = Obj(schema.NETWORK.keys)

STACK_TOP = Obj(
    {
        **schema.TOP.keys,
        "services": MapOf(_SERVICE),
        "networks": MapOf((_NETWORK, NULL)),
        "secrets": MapOf(_FILE),
        "configs": MapOf(_FILE),
        "models": ANYTHING,
    }
)
