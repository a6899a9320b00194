"""Where things lie in etcd.

    /object/KIND/ID     JSON of the record, without its version: that is the key's revision
    /name/KIND/NAME     ID; makes a name unique among its kind across all managers
    /serial/NAME        nothing; its revision is what ``Draft.serialize`` compares
    /leader             "NODE-ID LEASE" while somebody leads; bound to the leader's lease
    /present/NODE-ID    JSON of a ``Presence``; bound to that manager's lease
    /schema             number of the schema that the objects are in, see ``cluster.schema``

A cluster has its etcd for itself, so the keys begin at the root.
"""

from __future__ import annotations

LEADER = "/leader"
SCHEMA_KEY = "/schema"


def object_key(kind: str, id: str) -> str:
    return f"/object/{kind}/{id}"


def name_key(kind: str, name: str) -> str:
    return f"/name/{kind}/{name}"


def serial_key(name: str) -> str:
    return f"/serial/{name}"


def present_key(node_id: str) -> str:
    return f"/present/{node_id}"
