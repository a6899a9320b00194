"""The shapes of whole files, made from the tables of keys: for one host, and for a cluster."""

from __future__ import annotations

from sampan.compose.file.schema_types import STRING, MapOf, Obj
from sampan.compose.model import top_keys

TOP = top_keys.TOP.shape()


def cluster_top() -> Obj:
    """What a cluster reads. What it does not honour is told in one sentence for all services."""
    top = top_keys.TOP.shape(cluster=True)
    services = top.keys["services"]
    assert isinstance(services, MapOf)
    assert isinstance(services.value, Obj)
    # Docker's stack files had this word before the specification had `cgroup`.
    service = services.value._replace(keys={**services.value.keys, "cgroupns_mode": STRING})
    return top._replace(keys={**top.keys, "services": MapOf(service)})
