"""Which file knows which command. Names only: nothing here is imported before it is used."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sampan.flags import Command

_FILES: dict[str, tuple[str, ...]] = {
    "container.ps": ("ps",),
    "container.run": ("run", "create"),
    "container.attach": ("attach", "start"),
    "container.exec": ("exec",),
    "container.lifecycle": (
        "stop", "restart", "kill", "pause", "unpause", "wait", "rm", "rename", "update",
        "container prune",
    ),
    "container.logs": ("logs",),
    "container.top": ("top",),
    "container.port": ("port",),
    "container.diff": ("diff",),
    "container.stats": ("stats",),
    "system.inspect": (
        "inspect", "container inspect", "image inspect", "network inspect", "volume inspect",
        "service inspect", "node inspect", "secret inspect", "config inspect",
    ),
    "container.cp": ("cp",),
    "container.commit": ("commit", "export"),
    "image.images": ("images", "tag", "rmi", "history", "image prune"),
    "image.transfer": ("pull", "push", "load", "save", "import"),
    "image.bootstrap": ("image bootstrap",),
    "image.build": ("build",),
    "system.network": (
        "network ls", "network create", "network connect", "network disconnect", "network rm",
        "network prune",
    ),
    "system.volume": ("volume ls", "volume create", "volume rm", "volume prune"),
    "system.daemon": ("info", "version", "events"),
    "system.usage": ("system df", "system prune"),
    "swarm.swarm": ("swarm init", "swarm join", "swarm leave", "swarm update"),
    "swarm.keys": ("swarm join-token", "swarm ca", "swarm unlock-key", "swarm unlock"),
    "swarm.node": ("node ls", "node update", "node promote", "node demote", "node ps", "node rm"),
    "service.service": (
        "service create", "service update", "service scale", "service rollback", "service rm",
    ),
    "service.list": ("service ls", "service ps"),
    "service.logs": ("service logs",),
    "swarm.secret": (
        "secret create", "secret ls", "secret rm", "config create", "config ls", "config rm",
    ),
    "stack.stack": ("stack deploy", "stack config", "stack rm"),
    "stack.list": ("stack ls", "stack ps", "stack services"),
    "swarm.why": ("cluster why",),
}  # fmt: skip

MODULES = {command: file for file, commands in _FILES.items() for command in commands}
"""Command -> module under ``sampan.cli``."""


def load(name: str) -> Command:
    """Import the one file that knows a command."""
    from importlib import import_module

    module = import_module(f"sampan.cli.{MODULES[name]}")
    commands: dict[str, Command] = module.COMMANDS
    return commands[name]


_CONTAINER = (
    "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause", "port",
    "rename", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait",
)  # fmt: skip
_IMAGE = ("build", "history", "import", "load", "pull", "push", "save", "tag")


def _own(group: str, *names: str) -> dict[str, str]:
    return {name: f"{group} {name}" for name in names}


GROUPS: dict[str, dict[str, str]] = {
    "container": {
        **{name: name for name in _CONTAINER},
        **_own("container", "inspect", "prune"),
        "ls": "ps",
        "list": "ps",
        "ps": "ps",
        "remove": "rm",
    },
    "image": {
        **{name: name for name in _IMAGE},
        **_own("image", "bootstrap", "inspect", "prune"),
        "ls": "images",
        "list": "images",
        "rm": "rmi",
        "remove": "rmi",
    },
    "network": {
        **_own("network", "connect", "create", "disconnect", "inspect", "ls", "prune", "rm"),
        "list": "network ls",
        "remove": "network rm",
    },
    "volume": {
        **_own("volume", "create", "inspect", "ls", "prune", "rm"),
        "list": "volume ls",
        "remove": "volume rm",
    },
    "system": {"df": "system df", "prune": "system prune", "events": "events", "info": "info"},
    "builder": {"build": "build"},
    "swarm": _own(
        "swarm", "ca", "init", "join", "join-token", "leave", "unlock", "unlock-key", "update"
    ),
    "node": {
        **_own("node", "demote", "inspect", "ls", "promote", "ps", "rm", "update"),
        "list": "node ls",
        "remove": "node rm",
    },
    "service": {
        **_own("service", "create", "inspect", "logs", "ls", "ps", "rm", "rollback", "scale"),
        **_own("service", "update"),
        "list": "service ls",
        "remove": "service rm",
    },
    "secret": {
        **_own("secret", "create", "inspect", "ls", "rm"),
        "list": "secret ls",
        "remove": "secret rm",
    },
    "config": {
        **_own("config", "create", "inspect", "ls", "rm"),
        "list": "config ls",
        "remove": "config rm",
    },
    "stack": {
        **_own("stack", "config", "deploy", "ls", "ps", "rm", "services"),
        "up": "stack deploy",
        "down": "stack rm",
        "list": "stack ls",
        "remove": "stack rm",
    },
    "cluster": _own("cluster", "why"),
}
"""Group -> its words -> the command."""

ALIASES = {"containers": "container", "networks": "network", "volumes": "volume"}
