"""What the parts of a manager in memory share, and its nodes; see ``cluster_api``."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
BORN = "2026-01-02T03:04:05.000000006Z"


class Refused(Exception):
    """An answer that is no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Sent:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


@dataclass(slots=True)
class Told:
    """An answer: JSON, or raw bytes."""

    value: Any = None
    status: int = 200
    raw: bytes | None = None
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class Members:
    """The cluster itself and its nodes."""

    def __init__(self, nodes: int) -> None:
        self._ids = (f"{n:025d}" for n in itertools.count(1))
        self._index = itertools.count(10)
        self.nodes: dict[str, Json] = {}
        self.spec: Json = _swarm_spec()
        for number in range(nodes):
            self._add_node(f"host{number + 1}", manager=number == 0)

    # -- what every object has

    def _meta(self, identifier: str) -> Json:
        return {
            "ID": identifier,
            "Version": {"Index": next(self._index)},
            "CreatedAt": BORN,
            "UpdatedAt": BORN,
        }

    def _find(self, kind: str, ref: str) -> Json:
        known: dict[str, Json] = getattr(self, f"{kind}s")
        for item in known.values():
            name = item.get("Spec", {}).get("Name") or item.get("Name")
            if kind == "node":
                name = item["Description"]["Hostname"]
            if ref in (item.get("ID") or item["Id"], name):
                return item
        raise Refused(404, f"{kind} {ref} not found")

    def _check_version(self, item: Json, request: Sent) -> None:
        if str(item["Version"]["Index"]) != request.query.get("version"):
            raise Refused(500, "rpc error: code = Unknown desc = update out of sequence")
        item["Version"]["Index"] = next(self._index)

    # -- nodes and the cluster

    def _add_node(self, name: str, *, manager: bool) -> None:
        identifier = next(self._ids)
        node = {
            **self._meta(identifier),
            "Spec": {
                "Labels": {},
                "Role": "manager" if manager else "worker",
                "Availability": "active",
            },
            "Description": {
                "Hostname": name,
                "Platform": {"Architecture": "x86_64", "OS": "linux"},
                "Resources": {"NanoCPUs": 2_000_000_000, "MemoryBytes": 4 << 30},
                "Engine": {
                    "EngineVersion": "28.2.2",
                    "Plugins": [{"Type": "Network", "Name": "overlay"}],
                },
                "TLSInfo": {"TrustRoot": "PEM\n"},
            },
            "Status": {"State": "ready", "Addr": "192.0.2.1"},
        }  # fmt: skip
        if manager:
            node["ManagerStatus"] = {
                "Leader": True, "Reachability": "reachable", "Addr": "192.0.2.1:2377",
            }  # fmt: skip
        self.nodes[identifier] = node

    def _node_list(self, request: Sent) -> Told:
        return Told(filtered(self.nodes, request))

    def _node(self, request: Sent, ref: str) -> Told:
        return Told(self._find("node", next(iter(self.nodes)) if ref == "self" else ref))

    def _node_update(self, request: Sent, ref: str) -> Told:
        node = self._find("node", ref)
        self._check_version(node, request)
        node["Spec"] = request.body
        return Told()

    def _node_remove(self, request: Sent, ref: str) -> Told:
        node = self._find("node", ref)
        if not request.query.get("force") and node["Status"]["State"] == "ready":
            raise Refused(400, f"rpc error: node {ref} is not down and can't be removed")
        del self.nodes[node["ID"]]
        return Told()

    def _swarm(self, request: Sent) -> Told:
        return Told(
            {
                **self._meta("cluster"),
                "Spec": self.spec,
                "TLSInfo": {"TrustRoot": "-----BEGIN CERTIFICATE-----\nAAAA\n"},
                "RootRotationInProgress": False,
                "JoinTokens": {"Worker": "SWMTKN-1-w", "Manager": "SWMTKN-1-m"},
            }
        )

    def _swarm_init(self, request: Sent) -> Told:
        return Told(next(iter(self.nodes)))

    def _swarm_update(self, request: Sent) -> Told:
        self.spec = request.body
        return Told()

    def _nothing(self, request: Sent) -> Told:
        return Told()

    def _unlock_key(self, request: Sent) -> Told:
        return Told({"UnlockKey": "SWMKEY-1-k"})


def _swarm_spec() -> Json:
    return {
        "Name": "default",
        "Labels": {},
        "Orchestration": {"TaskHistoryRetentionLimit": 5},
        "Raft": {"SnapshotInterval": 10000, "KeepOldSnapshots": 0},
        "Dispatcher": {"HeartbeatPeriod": 5_000_000_000},
        "CAConfig": {"NodeCertExpiry": 7_776_000_000_000_000},
        "TaskDefaults": {},
        "EncryptionConfig": {"AutoLockManagers": False},
    }


def filters_of(request: Sent) -> dict[str, list[str]]:
    said = json.loads(request.query.get("filters") or "{}")
    return {name: list(values) for name, values in said.items()}


def filtered(known: dict[str, Json], request: Sent) -> list[Json]:
    wanted = filters_of(request)
    found = list(known.values())
    for label in wanted.get("label") or ():
        name, equals, value = label.partition("=")
        found = [
            item
            for item in found
            if name in (item["Spec"].get("Labels") or {})
            and (not equals or item["Spec"]["Labels"][name] == value)
        ]
    if "name" in wanted:
        names = tuple(wanted["name"])
        found = [item for item in found if str(item["Spec"].get("Name")).startswith(names)]
    if "id" in wanted:
        found = [item for item in found if item["ID"].startswith(tuple(wanted["id"]))]
    return found
