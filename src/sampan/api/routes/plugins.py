"""``/plugins``: Docker's managed plugins, which there are none of here.

A managed plugin is an image that the daemon runs with the host's own rights. What third parties
ship works as a plugin of the first kind, too, and needs nothing of the daemon but a socket: see
``sampan.plugins``. These are not in this list with Docker either.
"""

from __future__ import annotations

from aiohttp import web

from sampan.api.docker_request import DockerRequest
from sampan.errors import NotFound, Unsupported
from sampan.http.router import Route


class NoManagedPlugins(Unsupported):
    def __init__(self, what: str, sockets: str) -> None:
        super().__init__(
            f"{what}: managed plugins are not supported: run the plugin as a process or in a "
            f"container, with its socket in {sockets}, and name it where it is used"
        )


class NoSuchManagedPlugin(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f'plugin "{name}" not found')
        self.name = name


async def every(call: DockerRequest) -> web.Response:
    return call.json([])


async def install(call: DockerRequest) -> web.Response:
    """Also its first step, the question which rights the plugin wants."""
    raise _refusal(call, f"plugin {call.text('name') or call.needs('remote')} cannot be installed")


async def create(call: DockerRequest) -> web.Response:
    raise _refusal(call, f"plugin {call.needs('name')} cannot be created")


async def upgrade(call: DockerRequest) -> web.Response:
    raise _refusal(call, f"plugin {call.path['name']} cannot be upgraded")


async def named(call: DockerRequest) -> web.Response:
    raise NoSuchManagedPlugin(call.path["name"])


def _refusal(call: DockerRequest, what: str) -> NoManagedPlugins:
    return NoManagedPlugins(what, str(call.services.system.plugin_sockets))


ROUTES = (
    Route("GET", "/plugins", every),
    Route("GET", "/plugins/privileges", install),
    Route("POST", "/plugins/pull", install),
    Route("POST", "/plugins/create", create),
    Route("POST", "/plugins/{name:path}/upgrade", upgrade),
    Route("GET", "/plugins/{name:path}/json", named),
    Route("POST", "/plugins/{name:path}/enable", named),
    Route("POST", "/plugins/{name:path}/disable", named),
    Route("POST", "/plugins/{name:path}/push", named),
    Route("POST", "/plugins/{name:path}/set", named),
    Route("DELETE", "/plugins/{name:path}", named),
)
