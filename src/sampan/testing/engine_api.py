"""An Engine API in memory, for whatever only uses ``sampan.client``.

It keeps containers, networks, volumes and images, moves containers through their states, refuses
what an engine refuses, and says what happens on its event stream. ``fail_on`` makes chosen requests
fail. ``tests/compose`` holds it to the same contract as a real daemon.
"""

from __future__ import annotations

import itertools
import json
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sampan.client import Client
from sampan.client.errors import api_error


class Answer:
    """As much of ``client.Response`` as a body in memory needs."""

    def __init__(self, value: object = None, feed: queue.SimpleQueue[Any] | None = None) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self._value = value
        self._feed = feed

    def json(self) -> object:
        return self._value() if callable(self._value) else self._value

    def read(self) -> bytes:
        return b"" if self._value is None else json.dumps(self._value).encode()

    def iter_json(self) -> Iterator[dict[str, Any]]:
        while self._feed is not None and (event := self._feed.get()) is not None:
            yield event

    def close(self) -> None:
        if self._feed is not None:
            self._feed.put(None)


class FakeApi(Client):
    """A client whose daemon is this object. Thread-safe."""

    def __init__(self, *images: str) -> None:
        super().__init__("unix:///nowhere", environ={})
        self._version = (1, 51)
        self.images = {name: f"sha256:{i:064x}" for i, name in enumerate(images, 1)}
        self.containers: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, dict[str, Any]] = {}
        self.volumes: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        """Every request that changes something: ``POST /containers/create db``."""
        self.fail_on: Callable[[str], str | None] = lambda call: None
        """Message of a 500 for a call, or None."""
        self.on_start: Callable[[dict[str, Any]], None] = lambda container: None
        self._feeds: list[queue.SimpleQueue[Any]] = []
        self._ids = (f"{n:064x}" for n in itertools.count(0xC0))
        self._lock = threading.RLock()

    def stream(  # type: ignore[override]
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        with self._lock:
            query = query or {}
            if method != "GET":
                call = f"{method} {path} {query.get('name') or (body or {}).get('Name') or ''}"
                call = re.sub(r"[0-9a-f]{64}", lambda m: self._name_of(m[0]), call).strip()
                self.calls.append(call)
                if message := self.fail_on(call):
                    raise api_error(500, message)
            for pattern, verb, handler in self._ROUTES:
                match = re.fullmatch(pattern, path)
                if match and verb == method:
                    return handler(self, query, body, *match.groups())
        raise api_error(404, f"page not found: {method} {path}")

    def emit(self, action: str, container: dict[str, Any]) -> None:
        """Say on every open event stream that something happened to ``container``."""
        actor = {"ID": container["Id"], "Attributes": container["Config"]["Labels"]}
        for feed in self._feeds:
            feed.put({"Type": "container", "Action": action, "Actor": actor})

    def become(self, container: dict[str, Any], health: str) -> None:
        """Change a container's health and say so."""
        container["State"]["Health"] = {"Status": health, "Log": [{"Output": f"I am {health}"}]}
        self.emit(f"health_status: {health}", container)

    def named(self, name: str) -> dict[str, Any]:
        """The container of that name or id. Raises NotFound."""
        for item in self.containers.values():
            if name in (item["Id"], item["Name"]):
                return item
        raise api_error(404, f"No such container: {name}")

    def _name_of(self, identifier: str) -> str:
        found = self.containers.get(identifier) or self.networks.get(identifier)
        return str(found["Name"]) if found else identifier[:12]

    # -- containers

    def _list(self, query: Mapping[str, Any], body: Any) -> Answer:
        rows = []
        for c in self.containers.values():
            if not query.get("all") and c["State"]["Status"] != "running":
                continue
            if not _has_labels(c["Config"]["Labels"], query.get("filters")):
                continue
            rows.append(
                {
                    "Id": c["Id"],
                    "Names": ["/" + c["Name"]],
                    "Image": c["Config"]["Image"],
                    "ImageID": c["Image"],
                    "State": c["State"]["Status"],
                    "Status": c["State"]["Status"],
                    "Labels": c["Config"]["Labels"],
                    "NetworkSettings": {"Networks": c["Networks"]},
                    "Mounts": c["Mounts"],
                    "Ports": [],
                    "Created": 0,
                    "Command": "",
                }
            )
        return Answer(rows[::-1])

    def _create(self, query: Mapping[str, Any], body: Any) -> Answer:
        name = query["name"]
        if any(c["Name"] == name for c in self.containers.values()):
            raise api_error(409, f'Conflict. The container name "/{name}" is already in use')
        if body["Image"] not in self.images:
            raise api_error(404, f"No such image: {body['Image']}")
        wanted = (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        for network in wanted:
            self._network(network)
        identifier = next(self._ids)
        mounts = [
            {"Type": "volume", "Name": next(self._ids), "Destination": target}
            for target in body.get("Volumes") or {}
        ]
        for bind in (body.get("HostConfig") or {}).get("Binds") or []:
            source, target = bind.split(":")[:2]
            if not source.startswith("/"):
                mounts.append({"Type": "volume", "Name": source, "Destination": target})
        self.containers[identifier] = {
            "Id": identifier,
            "Name": name,
            "Image": self.images[body["Image"]],
            "Config": body | {"Labels": body.get("Labels") or {}},
            "State": {"Status": "created", "ExitCode": 0},
            "Networks": {n: {"NetworkID": self._network(n)["Id"]} for n in wanted},
            "Mounts": mounts,
        }
        self.emit("create", self.containers[identifier])
        return Answer({"Id": identifier, "Warnings": []})

    def _inspect(self, query: Mapping[str, Any], body: Any, ref: str) -> Answer:
        return Answer(json.loads(json.dumps(self.named(ref))))

    def _start(self, query: Mapping[str, Any], body: Any, ref: str) -> Answer:
        container = self.named(ref)
        if container["State"]["Status"] == "running":
            raise api_error(304, "")
        container["State"]["Status"] = "running"
        self.emit("start", container)
        self.on_start(container)
        return Answer()

    def _stop(self, query: Mapping[str, Any], body: Any, ref: str) -> Answer:
        container = self.named(ref)
        if container["State"]["Status"] != "running":
            raise api_error(304, "")
        container["State"]["Status"] = "exited"
        self.emit("die", container)
        return Answer()

    def _rename(self, query: Mapping[str, Any], body: Any, ref: str) -> Answer:
        container = self.named(ref)
        if any(c["Name"] == query["name"] for c in self.containers.values()):
            raise api_error(409, f'Conflict. The name "/{query["name"]}" is already in use')
        container["Name"] = query["name"]
        return Answer()

    def _remove(self, query: Mapping[str, Any], body: Any, ref: str) -> Answer:
        container = self.named(ref)
        if container["State"]["Status"] == "running" and not query.get("force"):
            raise api_error(409, "cannot remove a running container: stop it first")
        del self.containers[container["Id"]]
        return Answer()

    def _wait(self, query: Mapping[str, Any], body: Any, ref: str) -> Answer:
        container = self.named(ref)
        return Answer({"StatusCode": container["State"]["ExitCode"]})

    # -- networks, volumes, images, events

    def _network(self, ref: str) -> dict[str, Any]:
        for item in self.networks.values():
            if ref in (item["Id"], item["Name"]):
                return item
        raise api_error(404, f"network {ref} not found")

    def _network_list(self, query: Mapping[str, Any], body: Any) -> Answer:
        names = (query.get("filters") or {}).get("name")
        found = [n for n in self.networks.values() if not names or n["Name"] in names]
        return Answer([n for n in found if _has_labels(n["Labels"], query.get("filters"))])

    def _network_create(self, query: Mapping[str, Any], body: Any) -> Answer:
        if any(n["Name"] == body["Name"] for n in self.networks.values()):
            raise api_error(409, f"network with name {body['Name']} already exists")
        identifier = next(self._ids)
        self.networks[identifier] = {"Id": identifier, "Labels": {}, **body}
        return Answer({"Id": identifier})

    def _network_remove(self, query: Mapping[str, Any], body: Any, ref: str) -> Answer:
        network = self._network(ref)
        if any(
            network["Name"] in c["Networks"] and c["State"]["Status"] == "running"
            for c in self.containers.values()
        ):
            raise api_error(403, f"network {ref} has active endpoints")
        del self.networks[network["Id"]]
        return Answer()

    def _volume_list(self, query: Mapping[str, Any], body: Any) -> Answer:
        names = (query.get("filters") or {}).get("name")
        found = [v for v in self.volumes.values() if not names or v["Name"] in names]
        found = [v for v in found if _has_labels(v["Labels"], query.get("filters"))]
        return Answer({"Volumes": found})

    def _volume_create(self, query: Mapping[str, Any], body: Any) -> Answer:
        return Answer(self.volumes.setdefault(body["Name"], {"Labels": {}, **body}))

    def _volume_remove(self, query: Mapping[str, Any], body: Any, ref: str) -> Answer:
        if self.volumes.pop(ref, None) is None:
            raise api_error(404, f"get {ref}: no such volume")
        return Answer()

    def _image(self, query: Mapping[str, Any], body: Any, ref: str) -> Answer:
        if ref not in self.images:
            raise api_error(404, f"No such image: {ref}")
        return Answer({"Id": self.images[ref], "RepoTags": [ref], "Size": 1})

    def _events(self, query: Mapping[str, Any], body: Any) -> Answer:
        feed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._feeds.append(feed)
        return Answer(feed=feed)

    _ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
        (r"/containers/json", "GET", _list),
        (r"/containers/create", "POST", _create),
        (r"/containers/([^/]+)/json", "GET", _inspect),
        (r"/containers/([^/]+)/start", "POST", _start),
        (r"/containers/([^/]+)/stop", "POST", _stop),
        (r"/containers/([^/]+)/rename", "POST", _rename),
        (r"/containers/([^/]+)/wait", "POST", _wait),
        (r"/containers/([^/]+)", "DELETE", _remove),
        (r"/networks", "GET", _network_list),
        (r"/networks/create", "POST", _network_create),
        (r"/networks/([^/]+)", "DELETE", _network_remove),
        (r"/volumes", "GET", _volume_list),
        (r"/volumes/create", "POST", _volume_create),
        (r"/volumes/([^/]+)", "DELETE", _volume_remove),
        (r"/images/(.+)/json", "GET", _image),
        (r"/events", "GET", _events),
    )


def _has_labels(labels: Mapping[str, str], filters: Mapping[str, Any] | None) -> bool:
    for wanted in (filters or {}).get("label", ()):
        key, equals, value = wanted.partition("=")
        if key not in labels or (equals and labels[key] != value):
            return False
    return True
