"""A real daemon's answers against the Engine API's specification, where a copy of it is at hand."""

from __future__ import annotations

import http.client
import io
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from sampan.client.bootstrap import busybox_tar
from sampan.testing.daemon import DaemonProcess, running_daemon, short_directory

SPEC = Path(__file__).parents[3] / "shared/specs/docker-engine-api-v1.51.yaml"
pytestmark = pytest.mark.skipif(not SPEC.exists(), reason="no copy of the specification here")

POINTERS = ("MemorySwappiness",)
"""Plain values that Docker, too, writes as null."""


class Validator:
    """The part of Swagger 2.0 that the specification uses. Go writes null for an empty slice, map
    or pointer, so null is right for everything that is not a plain value."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec
        self.wrong: list[str] = []

    def check(self, value: Any, schema: dict[str, Any], where: str) -> None:
        schema = self._resolved(schema)
        kind = schema.get("type") or ("object" if "properties" in schema else None)
        if value is None:
            plain = kind in ("string", "integer", "boolean", "number")
            if plain and not schema.get("x-nullable") and not where.endswith(POINTERS):
                self.wrong.append(f"{where} is null, not a {kind}")
            return
        types = {
            "string": str,
            "integer": int,
            "boolean": bool,
            "array": list,
            "object": dict,
            "number": (int, float),
        }
        if kind is not None and (
            not isinstance(value, types[kind])
            or (isinstance(value, bool) and kind in ("integer", "number"))
        ):
            self.wrong.append(f"{where} is {value!r}, not a {kind}")
            return
        if "enum" in schema and value not in schema["enum"]:
            self.wrong.append(f"{where} is {value!r}, none of {schema['enum']}")
        if kind == "array":
            for number, item in enumerate(value):
                self.check(item, schema.get("items", {}), f"{where}[{number}]")
        elif kind == "object":
            self._object(value, schema, where)

    def _object(self, value: dict[str, Any], schema: dict[str, Any], where: str) -> None:
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                self.wrong.append(f"{where}.{name} is missing")
        extra = schema.get("additionalProperties")
        for name, item in value.items():
            if name in properties:
                self.check(item, properties[name], f"{where}.{name}")
            elif isinstance(extra, dict):
                self.check(item, extra, f"{where}.{name}")
            elif properties and not extra:
                self.wrong.append(f"{where}.{name} is not in the specification")

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        nullable = schema.get("x-nullable")
        while "$ref" in schema:
            schema = self.spec["definitions"][schema["$ref"].rpartition("/")[2]]
        if "allOf" in schema:
            parts = [self._resolved(part) for part in schema["allOf"]]
            if not any("properties" in part for part in parts):
                return {**parts[0], "x-nullable": nullable}
            merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
            for resolved in parts:
                merged["properties"].update(resolved.get("properties", {}))
                merged["required"] += resolved.get("required", [])
            schema = merged
        return {**schema, "x-nullable": True} if nullable else schema


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("daemon", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


class Client:
    def __init__(self, daemon: DaemonProcess) -> None:
        self._daemon = daemon

    def ask(
        self, method: str, path: str, body: object = None, *, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        conn = _Unix(self._daemon.socket)
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {"Content-Type": content_type} if raw is not None else {}
        try:
            conn.request(method, path, raw, headers)
            answer = conn.getresponse()
            data = answer.read()
        finally:
            conn.close()
        if answer.headers.get("Content-Type", "").startswith("application/json") and data:
            lines = data.decode().split("\n")
            return answer.status, json.loads(lines[0] if "\r" in data.decode() else data)
        return answer.status, data


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    archive = io.BytesIO()
    busybox_tar(archive)
    with short_directory() as base, running_daemon(Path(base) / "d") as daemon:
        made = Client(daemon)
        query = "fromSrc=-&repo=busybox&tag=latest&changes=" + quote('CMD ["sh"]')
        status, _ = made.ask(
            "POST", f"/images/create?{query}", archive.getvalue(), content_type="application/x-tar"
        )
        assert status == 200
        made.ask("POST", "/volumes/create", {"Name": "vol", "Labels": {"a": "b"}})
        made.ask("POST", "/networks/create", {"Name": "net"})
        body = {
            "Image": "busybox",
            "Cmd": ["sleep", "1000"],
            "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000},
            "HostConfig": {
                "Binds": ["vol:/vol"],
                "NetworkMode": "net",
                "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]},
                "Mounts": [{"Type": "tmpfs", "Target": "/t"}],
            },
        }
        assert made.ask("POST", "/containers/create?name=box", body)[0] == 201
        assert made.ask("POST", "/containers/box/start")[0] == 204
        assert made.ask("POST", "/containers/create?name=new", {"Image": "busybox"})[0] == 201
        yield made
        made.ask("DELETE", "/containers/box?force=1")
        made.ask("DELETE", "/containers/new?force=1")


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load(
        SPEC.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    return loaded


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/version", "/version"),
        ("/info", "/info"),
        ("/system/df", "/system/df"),
        ("/containers/json?all=1&size=1", "/containers/json"),
        ("/containers/box/json?size=1", "/containers/{id}/json"),
        ("/containers/new/json", "/containers/{id}/json"),
        ("/containers/box/top", "/containers/{id}/top"),
        ("/containers/box/stats?stream=0&one-shot=1", "/containers/{id}/stats"),
        ("/containers/new/stats?stream=0", "/containers/{id}/stats"),
        ("/containers/box/changes", "/containers/{id}/changes"),
        ("/images/json", "/images/json"),
        ("/images/busybox/json", "/images/{name}/json"),
        ("/images/busybox/history", "/images/{name}/history"),
        ("/networks", "/networks"),
        ("/networks/net", "/networks/{id}"),
        ("/networks/bridge", "/networks/{id}"),
        ("/volumes", "/volumes"),
        ("/volumes/vol", "/volumes/{name}"),
    ],
)
def test_answers_are_as_specified(
    client: Client, spec: dict[str, Any], path: str, template: str
) -> None:
    status, body = client.ask("GET", "/v1.51" + path)
    assert status == 200, body
    schema = spec["paths"][template]["get"]["responses"][200]["schema"]
    validator = Validator(spec)
    validator.check(body, schema, "")
    assert validator.wrong == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("GET", "/nope", None, 404, "page not found"),
        ("GET", "/v1.99/info", None, 400, "client version 1.99 is too new"),
        ("GET", "/v1.2/info", None, 400, "client version 1.2 is too old"),
        ("GET", "/vx/info", None, 404, "page not found"),
        ("GET", "/containers/none/json", None, 404, "No such container: none"),
        ("GET", "/images/none/json", None, 404, "No such image: none"),
        ("GET", "/networks/nonet", None, 404, "network nonet not found"),
        ("GET", "/volumes/none", None, 404, "get none: no such volume"),
        ("GET", "/exec/none/json", None, 404, "No such exec instance: none"),
        ("GET", "/swarm", None, 503, "This node is not a swarm manager"),
        ("GET", "/services", None, 503, "This node is not a swarm manager"),
        ("POST", "/containers/create", None, 400, "got EOF while reading request body"),
        ("POST", "/containers/create", b"{", 400, "invalid JSON"),
        ("POST", "/containers/create", b"[]", 400, "invalid JSON"),
        ("POST", "/containers/create", {"Image": 1}, 400, "$.Image"),
        ("POST", "/containers/create", {"HostConfig": {"Memory": "x"}}, 400, "$.HostConfig.Memory"),
        ("POST", "/containers/create", {}, 400, "no image specified"),
        ("POST", "/containers/create?name=/", {"Image": "busybox"}, 400, "Invalid container name"),
        ("POST", "/containers/create?name=box", {"Image": "busybox"}, 409, "already in use"),
        ("POST", "/containers/create", {"Image": "nope"}, 404, "No such image: nope"),
        ("GET", "/containers/json?filters=x", None, 400, "invalid filter"),
        ("GET", "/containers/json?limit=x", None, 400, "parameter limit"),
        ("GET", "/containers/box/logs", None, 400, "you must choose at least one stream"),
        ("POST", "/containers/new/exec", {"Cmd": ["true"]}, 409, "is not running"),
        ("POST", "/containers/box/wait?condition=soon", None, 400, "invalid condition"),
        ("POST", "/containers/box/kill?signal=NOPE", None, 400, "NOPE"),
        ("POST", "/build?buildargs=x", b"", 400, "buildargs"),
        ("POST", "/networks/create", {"Name": ""}, 400, "invalid network name"),
    ],
)
def test_errors_are_sentences(
    client: Client, method: str, path: str, body: object, status: int, message: str
) -> None:
    got, answer = client.ask(method, path, body)
    assert got == status, answer
    assert message in answer["message"]


def test_a_wrong_content_type_is_refused(client: Client) -> None:
    status, answer = client.ask("POST", "/containers/create", b"{}", content_type="application/xml")
    assert status == 400
    assert "application/xml" in answer["message"]


@pytest.mark.parametrize("query", ["", "?condition=", "?condition=not-running"])
def test_a_condition_without_a_value_is_the_default(client: Client, query: str) -> None:
    """As a docker of 1.41 sends it."""
    status, answer = client.ask("POST", "/v1.41/containers/new/wait" + query)
    assert (status, answer) == (200, {"StatusCode": 0})


def test_not_modified_has_no_body(client: Client) -> None:
    assert client.ask("POST", "/containers/box/start") == (304, b"")
