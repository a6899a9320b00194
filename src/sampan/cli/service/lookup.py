"""What only the manager knows of the names on a command line: ids, digests, credentials."""

from __future__ import annotations

from sampan.cli.terminal.console import CliError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from sampan.client import Client

_UNPINNED = """image {0} could not be accessed on a registry to record
its digest. Each node will access {0} independently,
possibly leading to different nodes running different
versions of the image.
"""


class Lookup:
    """Asks as late as possible, and once for everything of a kind."""

    def __init__(self, client: Client, environ: Mapping[str, str]) -> None:
        self._client = client
        self._environ = environ

    def network(self, name: str) -> str:
        """The id of a network of the cluster. Raises NotFound."""
        from sampan.client.http import quote

        found: dict[str, Any] = self._client.get(f"/networks/{quote(name)}", {"scope": "swarm"})
        return str(found["Id"])

    def grants(self, grants: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
        """Grants of secrets or configs (``kind``: ``Secret``, ``Config``) with their ids.

        Raises:
            CliError: one does not exist, or two want the same file.
        """
        if not grants:
            return []
        from sampan.client import stored

        targets: set[str] = set()
        for grant in grants:
            target = grant["File"]["Name"]
            if target in targets:
                word = kind.lower()
                name = grant[f"{kind}Name"]
                raise CliError(f"duplicate {word} target for {name} not allowed")
            targets.add(target)
        wanted = {str(grant[f"{kind}Name"]) for grant in grants}
        found = stored.list_(self._client, f"{kind.lower()}s", {"name": sorted(wanted)})
        ids = {str(item["Spec"]["Name"]): str(item["ID"]) for item in found}
        for grant in grants:
            name = str(grant[f"{kind}Name"])
            if name not in ids:
                raise CliError(f"{kind.lower()} not found: {name}")
        return [{**grant, f"{kind}ID": ids[str(grant[f"{kind}Name"])]} for grant in grants]

    def auth(self, image: str) -> str | None:
        """X-Registry-Auth for an image from the user's configuration."""
        from sampan.client.auth import header_for

        return header_for(image, self._environ)

    def pin(self, task: dict[str, Any]) -> str:
        """Write the image's digest and platforms into a task template; a warning, or "".

        Nodes that pull a bare tag one after the other may get different images.
        """
        from sampan.client import services
        from sampan.errors import SampanError, Unavailable

        part = task["ContainerSpec"]
        image = part["Image"] = tagged(str(part.get("Image") or ""))
        if "@" in image:
            return ""
        try:
            found = services.distribution(self._client, image, self.auth(image))
        except Unavailable:
            raise
        except SampanError:
            return _UNPINNED.format(image)
        part["Image"] = f"{image}@{found['Descriptor']['digest']}"
        platforms = [_platform(item) for item in found.get("Platforms") or ()]
        if platforms:
            task.setdefault("Placement", {})["Platforms"] = platforms
        return ""


def _platform(item: Mapping[str, Any]) -> dict[str, str]:
    found = {"Architecture": item.get("architecture"), "OS": item.get("os")}
    return {key: str(value) for key, value in found.items() if value}


def tagged(image: str) -> str:
    """``busybox`` -> ``busybox:latest``; what has a tag or digest stays."""
    if not image or "@" in image or ":" in image.rpartition("/")[2]:
        return image
    return f"{image}:latest"
