"""What belongs to a cluster, on a host that is in none."""

from __future__ import annotations

from typing import NoReturn

from sampan.api.call import Call
from sampan.api.errors import NotManager
from sampan.api.router import Route


async def not_a_manager(call: Call) -> NoReturn:
    raise NotManager


_PATHS = (
    ("GET", "/swarm"),
    ("POST", "/swarm/init"),
    ("POST", "/swarm/join"),
    ("POST", "/swarm/leave"),
    ("POST", "/swarm/update"),
    ("GET", "/swarm/unlockkey"),
    ("POST", "/swarm/unlock"),
    *(
        (method, path)
        for kind in ("nodes", "services", "tasks", "secrets", "configs")
        for method, path in (
            ("GET", f"/{kind}"),
            ("POST", f"/{kind}/create"),
            ("GET", f"/{kind}/{{id}}"),
            ("DELETE", f"/{kind}/{{id}}"),
            ("POST", f"/{kind}/{{id}}/update"),
            ("GET", f"/{kind}/{{id}}/logs"),
        )
    ),
)

ROUTES = tuple(Route(method, path, not_a_manager) for method, path in _PATHS)
