"""What goes wrong with a plugin. Every sentence names the plugin: it is not sampan that fails."""

from __future__ import annotations

from sampan.drivers import OfAnotherKind
from sampan.errors import InvalidArgument, NotFound, Unavailable


class NoSuchPlugin(NotFound):
    """No socket and no specification file of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f'plugin "{name}" not found')
        self.name = name


class BadPluginFile(InvalidArgument):
    """A specification file that cannot be used."""

    def __init__(self, name: str, path: str, problem: str) -> None:
        super().__init__(f'plugin "{name}": {path}: {problem}')
        self.name, self.path = name, path


class NotThatKind(OfAnotherKind):
    """The plugin is there and is something else."""

    def __init__(self, name: str, kind: str, implements: tuple[str, ...]) -> None:
        has = ", ".join(implements) or "nothing"
        super().__init__(
            f'plugin "{name}": Plugin does not implement the requested driver: '
            f"{kind} was asked for, and it implements {has}"
        )
        self.name, self.kind, self.implements = name, kind, implements


class PluginFailed(Unavailable):
    """A call that did not succeed. ``method`` is the call, as ``VolumeDriver.Mount``."""

    def __init__(self, name: str, method: str, problem: str) -> None:
        super().__init__(f'plugin "{name}": {method}: {problem}')
        self.name, self.method, self.problem = name, method, problem


class Unreachable(PluginFailed):
    """Nobody takes connections where the plugin should listen."""


class NoAnswer(PluginFailed):
    """The plugin took the request and did not answer in time, or ended before it did."""


class BadAnswer(PluginFailed):
    """The answer is not what the protocol has for this call."""


class PluginRefused(PluginFailed):
    """The plugin answered with an error of its own."""


class NoSuchMethod(PluginRefused):
    """The plugin does not know the call (404): an older one, or one that does without."""
