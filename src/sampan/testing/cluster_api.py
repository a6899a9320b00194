"""A manager's Engine API in memory, on a real unix socket: for whatever drives a cluster by it.

It keeps services, nodes, secrets, configs and networks, refuses what a manager refuses, writes
down every request, and makes a service's tasks run the moment they are made. ``on_task`` lets a
test decide otherwise. The stock docker CLI and sampan's are both driven against it, so what the
one sends can be laid beside what the other sends.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from sampan.testing.cluster_members import (
    BORN,
    Json,
    Members,
    Refused,
    Sent,
    Told,
    filtered,
    filters_of,
)
from sampan.testing.http_unix import Exchange, UnixHttpServer


class ClusterApi(Members):
    """The manager. Every attribute may be looked at and changed by a test."""

    def __init__(self, nodes: int = 2) -> None:
        super().__init__(nodes)
        self._lock = threading.RLock()
        self.sent: list[Sent] = []
        self.services: dict[str, Json] = {}
        self.tasks: dict[str, Json] = {}
        self.secrets: dict[str, Json] = {}
        self.configs: dict[str, Json] = {}
        self.networks: dict[str, Json] = {}
        self.images: dict[str, str] = {}
        """Reference -> digest, of what the registry knows."""
        self.logs = b""
        self.on_task: Callable[[Json], None] = lambda task: None
        """Called with every new task, which runs; may change it."""
        self.on_update: Callable[[Json], None] = lambda service: None
        """Called with every updated service."""
        self.why: Json = {}
        for name, scope in (("bridge", "local"), ("host", "local"), ("ingress", "swarm")):
            self.add_network(name, scope=scope)

    # -- serving

    @contextmanager
    def serve(self, path: Path) -> Iterator[str]:
        """Answer on the unix socket ``path``; yields the host's address."""
        server = UnixHttpServer(path, self._answer)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def adopt(self, other: ClusterApi) -> None:
        """Have all that another manager has."""
        for name in ("services", "tasks", "secrets", "configs", "networks", "nodes", "spec"):
            setattr(self, name, deepcopy(getattr(other, name)))

    def changes(self) -> list[Sent]:
        """Every request that changes something."""
        return [s for s in self.sent if s.method not in ("GET", "HEAD")]

    def last(self, path: str) -> Sent:
        """The latest request that changes something at a path (a regular expression)."""
        return next(s for s in reversed(self.sent) if s.method != "GET" and re.search(path, s.path))

    def _answer(self, exchange: Exchange) -> None:
        path = re.sub(r"^/v\d+\.\d+", "", exchange.path)
        body = json.loads(exchange.body) if exchange.body else None
        request = Sent(exchange.method, path, exchange.query, body, dict(exchange.headers))
        with self._lock:
            self.sent.append(request)
            try:
                told = self._route(request)
            except Refused as refusal:
                told = Told({"message": str(refusal)}, refusal.status)
            if told.raw is not None:
                data = told.raw
            else:
                data = b"" if told.value is None else json.dumps(told.value).encode()
        exchange.reply(told.status, data, {"Content-Type": told.kind, **told.headers})

    def _route(self, request: Sent) -> Told:
        for pattern, verb, handler in _ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and verb in (request.method, "ANY"):
                found: Told = handler(self, request, *match.groups())
                return found
        raise Refused(404, f"page not found: {request.method} {request.path}")

    # -- services and their tasks

    def _service_create(self, request: Sent) -> Told:
        spec = request.body
        if any(s["Spec"]["Name"] == spec["Name"] for s in self.services.values()):
            raise Refused(409, f"name conflicts with an existing object: service {spec['Name']}")
        for target in spec["TaskTemplate"].get("Networks") or ():
            self._find("network", target["Target"])
        identifier = next(self._ids)
        service = {**self._meta(identifier), "Spec": self._resolved(spec), "Endpoint": {"Spec": {}}}
        service["Endpoint"] = {
            "Spec": spec.get("EndpointSpec") or {},
            "Ports": (spec.get("EndpointSpec") or {}).get("Ports") or [],
        }
        self.services[identifier] = service
        self._reconcile(service)
        return Told({"ID": identifier}, 201)

    def _resolved(self, spec: Json) -> Json:
        """The specification as it is stored: networks by their ids."""
        kept: Json = json.loads(json.dumps(spec))
        for target in kept["TaskTemplate"].get("Networks") or ():
            target["Target"] = self._find("network", target["Target"])["Id"]
        return kept

    def _service_update(self, request: Sent, ref: str) -> Told:
        service = self._find("service", ref)
        self._check_version(service, request)
        previous = service["Spec"]
        if request.query.get("rollback") == "previous":
            if "PreviousSpec" not in service:
                raise Refused(400, f"rpc error: service {ref} does not have a previous spec")
            service["Spec"] = service.pop("PreviousSpec")
        else:
            service["Spec"] = self._resolved(request.body)
            service["PreviousSpec"] = previous
        if service["Spec"]["TaskTemplate"] != previous["TaskTemplate"]:
            service["UpdateStatus"] = {
                "State": "completed", "StartedAt": BORN, "CompletedAt": BORN,
                "Message": "update completed",
            }  # fmt: skip
            for task in list(self.tasks.values()):
                if task["ServiceID"] == service["ID"]:
                    task["DesiredState"] = task["Status"]["State"] = "shutdown"
        self.on_update(service)
        self._reconcile(service)
        return Told({"Warnings": None})

    def _reconcile(self, service: Json) -> None:
        mine = [
            t
            for t in self.tasks.values()
            if t["ServiceID"] == service["ID"] and t["DesiredState"] in ("running", "complete")
        ]
        mode = service["Spec"].get("Mode") or {}
        if "Global" in mode or "GlobalJob" in mode:
            slots = [(0, node) for node in self.nodes]
        else:
            replicated = mode.get("Replicated") or {}
            count = (mode.get("ReplicatedJob") or replicated).get("TotalCompletions")
            count = replicated.get("Replicas", 1) if count is None else count
            names = list(self.nodes)
            slots = [(n, names[n % len(names)]) for n in range(1, count + 1)]
        wanted = {slot if slot else node for slot, node in slots}
        for task in mine:
            if (task.get("Slot") or task.get("NodeID")) not in wanted:
                del self.tasks[task["ID"]]
        have = {task.get("Slot") or task.get("NodeID") for task in mine}
        for slot, node in slots:
            if (slot or node) not in have:
                self._add_task(service, slot, node)

    def _add_task(self, service: Json, slot: int, node: str) -> None:
        identifier = next(self._ids)
        job = any(word.endswith("Job") for word in service["Spec"].get("Mode") or {})
        state = "complete" if job else "running"
        task = {
            **self._meta(identifier),
            "ServiceID": service["ID"],
            "NodeID": node,
            "Spec": service["Spec"]["TaskTemplate"],
            "Status": {
                "Timestamp": BORN,
                "State": state,
                "Message": "started",
                "ContainerStatus": {"ContainerID": "c" * 64, "PID": 1},
            },
            "DesiredState": state,
            "Labels": {},
        }
        if slot:
            task["Slot"] = slot
        if job:
            task["JobIteration"] = {"Index": service.get("JobStatus", {}).get("Index", 0)}
        self.on_task(task)
        self.tasks[identifier] = task

    def _service_list(self, request: Sent) -> Told:
        found = [self._with_status(s, request) for s in filtered(self.services, request)]
        return Told(found)

    def _service(self, request: Sent, ref: str) -> Told:
        return Told(self._with_status(self._find("service", ref), request))

    def _with_status(self, service: Json, request: Sent) -> Json:
        if request.query.get("status") not in ("1", "true"):
            return service
        mine = [t for t in self.tasks.values() if t["ServiceID"] == service["ID"]]
        done = sum(t["Status"]["State"] == "complete" for t in mine)
        status = {
            "RunningTasks": sum(t["Status"]["State"] == "running" for t in mine),
            "DesiredTasks": sum(t["DesiredState"] in ("running", "complete") for t in mine),
            "CompletedTasks": done,
        }
        return {**service, "ServiceStatus": status}

    def _service_remove(self, request: Sent, ref: str) -> Told:
        service = self._find("service", ref)
        del self.services[service["ID"]]
        self.tasks = {k: t for k, t in self.tasks.items() if t["ServiceID"] != service["ID"]}
        return Told()

    def _logs(self, request: Sent, ref: str) -> Told:
        kind = "application/vnd.docker.multiplexed-stream"
        return Told(raw=self.logs, kind=kind)

    def _task_list(self, request: Sent) -> Told:
        wanted = filters_of(request)
        found = list(self.tasks.values())
        for key, field_name in (("service", "ServiceID"), ("node", "NodeID")):
            if wanted.get(key):
                kind = self.services if key == "service" else self.nodes
                ids = {
                    i for i, o in kind.items()
                    if i in wanted[key] or o["Spec"].get("Name") in wanted[key]
                }  # fmt: skip
                found = [t for t in found if t.get(field_name) in ids]
        if wanted.get("desired-state"):
            found = [t for t in found if t["DesiredState"] in wanted["desired-state"]]
        for label in wanted.get("label") or ():
            name, _, value = label.partition("=")
            found = [
                t
                for t in found
                if (self._labels_of(t)).get(name) == value
            ]  # fmt: skip
        return Told(found)

    def _labels_of(self, task: Json) -> dict[str, str]:
        service = self.services.get(task["ServiceID"]) or {}
        return (service.get("Spec") or {}).get("Labels") or {}

    def _task(self, request: Sent, ref: str) -> Told:
        return Told(self._find("task", ref))

    def _why(self, request: Sent, ref: str) -> Told:
        self._find("service", ref)
        return Told(self.why)

    # -- secrets, configs, networks

    def _data_list(self, request: Sent, kind: str) -> Told:
        known = self.secrets if kind == "secrets" else self.configs
        return Told([_shown(kind, item) for item in filtered(known, request)])

    def _data_create(self, request: Sent, kind: str) -> Told:
        known = self.secrets if kind == "secrets" else self.configs
        name = request.body["Name"]
        if any(item["Spec"]["Name"] == name for item in known.values()):
            raise Refused(409, f"rpc error: {kind[:-1]} {name} already exists")
        identifier = next(self._ids)
        known[identifier] = {**self._meta(identifier), "Spec": request.body}
        return Told({"ID": identifier}, 201)

    def _data(self, request: Sent, kind: str, ref: str) -> Told:
        return Told(_shown(kind, self._find(kind[:-1], ref)))

    def _data_update(self, request: Sent, kind: str, ref: str) -> Told:
        item = self._find(kind[:-1], ref)
        self._check_version(item, request)
        data = request.body.get("Data")
        if data and data != item["Spec"].get("Data"):
            raise Refused(400, "rpc error: only updates to Labels are allowed")
        item["Spec"]["Labels"] = request.body.get("Labels") or {}
        return Told()

    def _data_remove(self, request: Sent, kind: str, ref: str) -> Told:
        known = self.secrets if kind == "secrets" else self.configs
        del known[self._find(kind[:-1], ref)["ID"]]
        return Told()

    def add_network(self, name: str, *, scope: str = "swarm", **more: Any) -> str:
        """A network that is there already; its id."""
        identifier = next(self._ids)
        driver = "overlay" if scope == "swarm" else "bridge"
        self.networks[identifier] = {
            "Name": name, "Id": identifier, "Scope": scope, "Driver": driver, "Labels": {}, **more,
        }  # fmt: skip
        return identifier

    def _network_list(self, request: Sent) -> Told:
        wanted = filters_of(request)
        found = list(self.networks.values())
        for label in wanted.get("label") or ():
            name, _, value = label.partition("=")
            found = [n for n in found if (n.get("Labels") or {}).get(name) == value]
        return Told(found)

    def _network_create(self, request: Sent) -> Told:
        body = dict(request.body)
        name = body.pop("Name")
        if any(n["Name"] == name for n in self.networks.values()):
            raise Refused(409, f"network with name {name} already exists")
        scope = "swarm" if body.get("Driver") == "overlay" else "local"
        return Told({"Id": self.add_network(name, scope=scope, **body), "Warning": ""}, 201)

    def _network(self, request: Sent, ref: str) -> Told:
        return Told(self._find("network", ref))

    def _network_remove(self, request: Sent, ref: str) -> Told:
        del self.networks[self._find("network", ref)["Id"]]
        return Told()

    # -- the rest

    def _ping(self, request: Sent) -> Told:
        headers = {"Api-Version": "1.51", "Ostype": "linux", "Swarm": "active/manager"}
        return Told(raw=b"OK", kind="text/plain", headers=headers)

    def _info(self, request: Sent) -> Told:
        node = next(iter(self.nodes), "")
        swarm = {
            "NodeID": node,
            "NodeAddr": "192.0.2.1",
            "LocalNodeState": "active",
            "ControlAvailable": True,
            "Managers": 1,
            "Nodes": len(self.nodes),
            "RemoteManagers": [{"NodeID": node, "Addr": "192.0.2.1:2377"}],
            "Cluster": {
                "ID": "cluster",
                "DefaultAddrPool": ["10.0.0.0/8"],
                "SubnetSize": 24,
                "DataPathPort": 4789,
            },
        }
        counted = {"Containers": 0, "Images": 0}
        return Told({"Swarm": swarm, "Name": "host1", "OSType": "linux", **counted})

    def _distribution(self, request: Sent, ref: str) -> Told:
        if ref not in self.images:
            raise Refused(401, "unauthorized: authentication required")
        platforms = [{"architecture": "amd64", "os": "linux"}]
        return Told({"Descriptor": {"digest": self.images[ref]}, "Platforms": platforms})


def _shown(kind: str, item: Json) -> Json:
    """A secret's content never comes back."""
    if kind == "configs":
        return item
    return {**item, "Spec": {k: v for k, v in item["Spec"].items() if k != "Data"}}


_DATA = "(secrets|configs)"
_ROUTES: tuple[tuple[str, str, Callable[..., Told]], ...] = (
    (r"/_ping", "ANY", ClusterApi._ping),
    (r"/info", "GET", ClusterApi._info),
    (r"/services", "GET", ClusterApi._service_list),
    (r"/services/create", "POST", ClusterApi._service_create),
    (r"/services/([^/]+)", "GET", ClusterApi._service),
    (r"/services/([^/]+)", "DELETE", ClusterApi._service_remove),
    (r"/services/([^/]+)/update", "POST", ClusterApi._service_update),
    (r"/(?:services|tasks)/([^/]+)/logs", "GET", ClusterApi._logs),
    (r"/sampan/services/([^/]+)/why", "GET", ClusterApi._why),
    (r"/tasks", "GET", ClusterApi._task_list),
    (r"/tasks/([^/]+)", "GET", ClusterApi._task),
    (r"/nodes", "GET", ClusterApi._node_list),
    (r"/nodes/([^/]+)", "GET", ClusterApi._node),
    (r"/nodes/([^/]+)/update", "POST", ClusterApi._node_update),
    (r"/nodes/([^/]+)", "DELETE", ClusterApi._node_remove),
    (r"/swarm", "GET", ClusterApi._swarm),
    (r"/swarm/init", "POST", ClusterApi._swarm_init),
    (r"/swarm/update", "POST", ClusterApi._swarm_update),
    (r"/swarm/(?:join|leave|unlock)", "POST", ClusterApi._nothing),
    (r"/swarm/unlockkey", "GET", ClusterApi._unlock_key),
    (rf"/{_DATA}", "GET", ClusterApi._data_list),
    (rf"/{_DATA}/create", "POST", ClusterApi._data_create),
    (rf"/{_DATA}/([^/]+)", "GET", ClusterApi._data),
    (rf"/{_DATA}/([^/]+)/update", "POST", ClusterApi._data_update),
    (rf"/{_DATA}/([^/]+)", "DELETE", ClusterApi._data_remove),
    (r"/networks", "GET", ClusterApi._network_list),
    (r"/networks/create", "POST", ClusterApi._network_create),
    (r"/networks/([^/]+)", "GET", ClusterApi._network),
    (r"/networks/([^/]+)", "DELETE", ClusterApi._network_remove),
    (r"/distribution/(.+)/json", "GET", ClusterApi._distribution),
)
