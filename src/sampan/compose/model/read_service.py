"""One service: from its tree to ``Service``, by the table of its keys."""

from __future__ import annotations

from collections.abc import Mapping

from sampan.compose.file.node_reader import NodeReader
from sampan.compose.model.service import Service
from sampan.compose.model.service_keys import SERVICE


def read_service(name: str, cur: NodeReader, variables: Mapping[str, str]) -> Service:
    """The service at ``cur``.

    Raises:
        ComposeFileError: with the place of what cannot be understood.
    """
    if not name or not all(c.isalnum() or c in "._-" for c in name):
        raise cur.fail("a service's name has letters, digits, -, _ and . only")
    if not cur["image"] and not cur["build"]:
        raise cur.fail('needs "image" or "build"')
    if cur["network_mode"] and cur["networks"]:
        raise cur["network_mode"].fail("cannot be combined with networks: choose one of them")
    inline = cur["build"]["dockerfile_inline"]
    if cur["build"]["dockerfile"] and inline:
        raise inline.fail("cannot be combined with dockerfile: choose one")
    service = Service(name=name, where=cur.where, **SERVICE.fields(cur, variables))
    if service.container_name and service.replicas > 1:
        raise cur["container_name"].fail(
            f"a fixed name and {service.replicas} replicas exclude each other: remove one of them"
        )
    return service
