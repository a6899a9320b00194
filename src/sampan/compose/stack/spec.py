"""A stack as the API's specifications. Pure: the same file gives the same JSON."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from sampan.compose.model.cluster_form import MadeFor, mode, mounts, service_labels
from sampan.compose.model.project import Network
from sampan.compose.model.service import Service
from sampan.compose.model.service_keys import SERVICE
from sampan.compose.model.top_keys import NETWORK, SECRET
from sampan.compose.stack.model import IMAGE, NAMESPACE, Stack, StackFile

_DEFAULT_DRIVER = "overlay"
_OF_THE_SERVICE = ("EndpointSpec", "UpdateConfig", "RollbackConfig")
"""Parts that are members of the specification itself; the others are of its task template."""
Ids = Mapping[str, str]


def network_body(stack: Stack, network: Network) -> dict[str, Any]:
    """The body of ``POST /networks/create``."""
    return {
        "Driver": _DEFAULT_DRIVER,
        **NETWORK.request(network, None, cluster=True),
        "Name": network.name,
        "Labels": stack.labelled(network.labels),
    }


def file_spec(stack: Stack, file: StackFile) -> dict[str, Any]:
    """The body of ``POST /secrets/create`` or ``/configs/create``."""
    spec = {
        **SECRET.request(file.source, None, cluster=True),
        "Name": file.name,
        "Labels": stack.labelled(file.source.labels),
    }
    if file.data is not None:
        spec["Data"] = b64encode(file.data).decode()
    return spec


def service_spec(stack: Stack, service: Service, secrets: Ids, configs: Ids) -> dict[str, Any]:
    """The body of ``POST /services/create``. ``secrets``, ``configs``: name -> id."""
    made_for = MadeFor(
        service,
        stack.networks,
        stack.volumes,
        {key: file.source for key, file in stack.secrets.items()},
        {key: file.source for key, file in stack.configs.items()},
        secrets,
        configs,
        {NAMESPACE: stack.name},
    )
    made = SERVICE.request(service, made_for, cluster=True)
    container = made["ContainerSpec"]
    container.setdefault("Labels", dict(made_for.labels))
    if there := mounts(service, made_for):
        container["Mounts"] = there
    task = {name: part for name, part in made.items() if name not in _OF_THE_SERVICE}
    own = {name: made[name] for name in _OF_THE_SERVICE if name in made}
    labels = {**service_labels(service.deploy), IMAGE: service.image}
    return {
        "Name": stack.scoped(service.name),
        "Labels": stack.labelled(labels),
        "TaskTemplate": {
            "Resources": {},
            "Placement": {},
            "Networks": [],
            **task,
            "ForceUpdate": 0,
        },
        "Mode": mode(service),
        "EndpointSpec": {},
        **own,
    }
