"""What a plugin of each kind does: the smallest that does it truly, with its state in files."""

from __future__ import annotations

import base64
import ipaddress
import json
import select
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from sampan.plugins.log_entry import Entries, LogEntry, encode

Handler = Callable[[Any], "dict[str, Any] | Iterable[bytes]"]
_LOCK = threading.RLock()
"""Requests come in threads."""


class Refusal(Exception):
    """Becomes ``Err``."""


class State:
    """A JSON object in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.data: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def save(self) -> None:
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(self.data))
        new.replace(self._path)


def volume(directory: Path) -> dict[str, Handler]:
    """Directories. ``global`` as an option of the first volume changes nothing but is kept."""
    state = State(directory / "volumes.json")

    def known(request: Any) -> Any:
        if (found := state.data.get(request["Name"])) is None:
            raise Refusal(f"volume {request['Name']} does not exist")
        return found

    def told(name: str) -> dict[str, Any]:
        found = state.data[name]
        return {
            "Name": name,
            "Mountpoint": found["path"] if found["users"] else "",
            "CreatedAt": "2026-01-02T03:04:05.5Z",
            "Status": {"options": found["options"], "users": len(found["users"])},
        }

    def create(request: Any) -> dict[str, Any]:
        name, options = request["Name"], request.get("Opts") or {}
        if "bad" in options:
            raise Refusal("unknown option: bad")
        path = directory / "data" / name
        path.mkdir(parents=True, exist_ok=True)
        state.data.setdefault(name, {"path": str(path), "options": options, "users": []})
        state.save()
        return {}

    def remove(request: Any) -> dict[str, Any]:
        if known(request)["users"]:
            raise Refusal(f"volume {request['Name']} is mounted")
        shutil.rmtree(state.data.pop(request["Name"])["path"])
        state.save()
        return {}

    def mount(request: Any) -> dict[str, Any]:
        found = known(request)
        if request["ID"] not in found["users"]:
            found["users"].append(request["ID"])
        state.save()
        return {"Mountpoint": found["path"]}

    def unmount(request: Any) -> dict[str, Any]:
        found = known(request)
        if request["ID"] not in found["users"]:
            raise Refusal(f"{request['ID']} has not mounted {request['Name']}")
        found["users"].remove(request["ID"])
        state.save()
        return {}

    return _locked(
        "VolumeDriver",
        Create=create,
        Remove=remove,
        Mount=mount,
        Unmount=unmount,
        Path=lambda request: {"Mountpoint": known(request) and told(request["Name"])["Mountpoint"]},
        Get=lambda request: {"Volume": known(request) and told(request["Name"])},
        List=lambda request: {"Volumes": [told(name) for name in state.data] or None},
        Capabilities=lambda request: {"Capabilities": {"Scope": "global"}},
    )


def network(directory: Path) -> dict[str, Handler]:
    """A bridge a network, a veth pair an endpoint, made with ``ip``."""
    state = State(directory / "networks.json")

    def bridge(request: Any) -> str:
        return f"pb{request['NetworkID'][:11]}"

    def end(request: Any, side: str) -> str:
        return f"p{side}{request['EndpointID'][:11]}"

    def create_network(request: Any) -> dict[str, Any]:
        gateway = request["IPv4Data"][0]["Gateway"] if request["IPv4Data"] else ""
        _ip("link", "add", bridge(request), "type", "bridge")
        if gateway:
            _ip("address", "add", gateway, "dev", bridge(request))
        _ip("link", "set", bridge(request), "up")
        state.data[request["NetworkID"]] = {
            "gateway": gateway.split("/")[0],
            "options": request["Options"],
            "endpoints": {},
        }
        state.save()
        return {}

    def delete_network(request: Any) -> dict[str, Any]:
        if state.data.pop(request["NetworkID"], None) is None:
            raise Refusal(f"network {request['NetworkID']} does not exist")
        _ip("link", "delete", bridge(request))
        state.save()
        return {}

    def create_endpoint(request: Any) -> dict[str, Any]:
        state.data[request["NetworkID"]]["endpoints"][request["EndpointID"]] = request["Interface"]
        state.save()
        return {"Interface": {}}

    def delete_endpoint(request: Any) -> dict[str, Any]:
        endpoints = state.data[request["NetworkID"]]["endpoints"]
        if endpoints.pop(request["EndpointID"], None) is None:
            raise Refusal(f"endpoint {request['EndpointID']} does not exist")
        subprocess.run(["ip", "link", "delete", end(request, "h")], check=False)
        state.save()
        return {}

    def join(request: Any) -> dict[str, Any]:
        found = state.data[request["NetworkID"]]
        host, inside = end(request, "h"), end(request, "c")
        _ip("link", "add", host, "type", "veth", "peer", "name", inside)
        _ip("link", "set", host, "master", bridge(request), "up")
        return {
            "InterfaceName": {"SrcName": inside, "DstPrefix": "eth"},
            "Gateway": found["gateway"],
            "StaticRoutes": [{"Destination": "198.51.100.0/24", "RouteType": 1}],
        }

    def operational(request: Any) -> dict[str, Any]:
        return {"Value": {"bridge": bridge(request)}}

    return _locked(
        "NetworkDriver",
        GetCapabilities=lambda request: {"Scope": "local", "ConnectivityScope": "local"},
        CreateNetwork=create_network,
        DeleteNetwork=delete_network,
        CreateEndpoint=create_endpoint,
        DeleteEndpoint=delete_endpoint,
        EndpointOperInfo=operational,
        Join=join,
        Leave=lambda request: {},
    )


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refusal(f"ip {' '.join(words)}: {done.stderr.strip()}")


def ipam(directory: Path) -> dict[str, Handler]:
    """Addresses from the top of the subnet downwards, so that nobody takes it for the built-in."""
    state = State(directory / "pools.json")

    def request_pool(request: Any) -> dict[str, Any]:
        if request["V6"]:
            raise Refusal("there is no IPv6 here")
        pool = request["Pool"] or f"10.{200 + len(state.data)}.0.0/24"
        identifier = f"{request['AddressSpace']}/{pool}"
        state.data.setdefault(identifier, {"subnet": pool, "given": []})
        state.save()
        return {"PoolID": identifier, "Pool": pool, "Data": {}}

    def found(request: Any) -> Any:
        if request["PoolID"] not in state.data:
            raise Refusal(f"pool {request['PoolID']} does not exist")
        return state.data[request["PoolID"]]

    def release_pool(request: Any) -> dict[str, Any]:
        found(request)
        del state.data[request["PoolID"]]
        state.save()
        return {}

    def request_address(request: Any) -> dict[str, Any]:
        pool = found(request)
        subnet = ipaddress.ip_network(pool["subnet"])
        wanted = request["Address"]
        free = [str(a) for a in subnet.hosts() if str(a) not in pool["given"]]
        if not free:
            raise Refusal("no address is left")
        if wanted and wanted not in free:
            raise Refusal(f"address {wanted} is in use")
        address = wanted or free[-1]
        pool["given"].append(address)
        state.save()
        return {"Address": f"{address}/{subnet.prefixlen}", "Data": {}}

    def release_address(request: Any) -> dict[str, Any]:
        pool = found(request)
        if request["Address"] not in pool["given"]:
            raise Refusal(f"address {request['Address']} is not in use")
        pool["given"].remove(request["Address"])
        state.save()
        return {}

    spaces = {"LocalDefaultAddressSpace": "here", "GlobalDefaultAddressSpace": "everywhere"}
    return _locked(
        "IpamDriver",
        GetCapabilities=lambda request: {"RequiresMACAddress": False},
        GetDefaultAddressSpaces=lambda request: spaces,
        RequestPool=request_pool,
        ReleasePool=release_pool,
        RequestAddress=request_address,
        ReleaseAddress=release_address,
    )


def log(directory: Path) -> dict[str, Handler]:
    """Every entry of a container in a file of its own, as it came."""
    readers: dict[str, threading.Lock] = {}
    """Held from the moment that a piece is read until it is written."""
    (directory / "logs").mkdir(exist_ok=True)

    def consume(fifo: str, container: str, busy: threading.Lock) -> None:
        entries = Entries()
        with open(fifo, "rb", buffering=0) as stream:
            while True:
                select.select([stream], [], [])
                with busy:
                    if not (data := stream.read(65536)):
                        return
                    with (directory / "logs" / container).open("ab") as out:
                        for entry in entries.feed(data):
                            out.write(encode(entry))

    def start(request: Any) -> dict[str, Any]:
        if "refuse" in (request["Info"]["Config"] or {}):
            raise Refusal("this container is not logged")
        busy = readers[request["File"]] = threading.Lock()
        words = (request["File"], request["Info"]["ContainerID"], busy)
        threading.Thread(target=consume, args=words, daemon=True).start()
        return {}

    def stop(request: Any) -> dict[str, Any]:
        if (busy := readers.pop(request["File"], None)) is None:
            raise Refusal(f"{request['File']} is not logged")
        with busy:
            return {}

    def read(request: Any) -> Iterator[bytes]:
        path = directory / "logs" / request["Info"]["ContainerID"]
        entries = list(Entries().feed(path.read_bytes())) if path.exists() else []
        tail = request["Config"]["Tail"]
        yield from map(encode, entries[-tail:] if tail > 0 else entries if tail else [])

    return _locked(
        "LogDriver",
        StartLogging=start,
        StopLogging=stop,
        Capabilities=lambda request: {"Cap": {"ReadLogs": True}},
        ReadLogs=read,
    )


def logged(directory: Path, container: str) -> list[LogEntry]:
    """What a log plugin in ``directory`` has of a container."""
    path = directory / "logs" / container
    return list(Entries().feed(path.read_bytes())) if path.exists() else []


def authz(directory: Path) -> dict[str, Handler]:
    """Nobody may have a privileged container, and nobody may see a container called ``secret``."""

    def request(asked: Any) -> dict[str, Any]:
        body = base64.b64decode(asked.get("RequestBody") or "")
        wanted = json.loads(body) if body else {}
        if (wanted.get("HostConfig") or {}).get("Privileged"):
            return {"Allow": False, "Msg": "privileged containers are not allowed"}
        return {"Allow": True}

    def response(asked: Any) -> dict[str, Any]:
        body = base64.b64decode(asked.get("ResponseBody") or "")
        if b'"/secret"' in body:
            return {"Allow": False, "Msg": "this is secret"}
        return {"Allow": True}

    return _locked("AuthZPlugin", AuthZReq=request, AuthZRes=response)


def _locked(kind: str, **handlers: Handler) -> dict[str, Handler]:
    def locked(handler: Handler) -> Handler:
        def call(request: Any) -> dict[str, Any] | Iterable[bytes]:
            with _LOCK:
                return handler(request)

        return call

    return {f"{kind}.{name}": locked(handler) for name, handler in handlers.items()}


KINDS: dict[str, tuple[str, Callable[[Path], dict[str, Handler]]]] = {
    "volume": ("VolumeDriver", volume),
    "network": ("NetworkDriver", network),
    "ipam": ("IpamDriver", ipam),
    "log": ("LogDriver", log),
    "authz": ("authz", authz),
}
"""Kind -> what ``Implements`` calls it, and its calls."""
