"""Which plugins this daemon knows: found when they are first named, activated once.

A plugin is asked ``Plugin.Activate`` before anything else and answers with the kinds that it
implements. Whoever else names it meanwhile waits for the same answer; a failure is not kept, so
the next one to name it tries again. Nobody waits for a plugin that he did not name.
"""

from __future__ import annotations

import logging

from sampan.aio import Clock, in_thread
from sampan.config import PluginSettings
from sampan.plugins.client import PluginClient
from sampan.plugins.discovery import Directories
from sampan.plugins.errors import NoSuchPlugin, NotThatKind
from sampan.plugins.wire import Manifest
from sampan.single_flight import SingleFlight

log = logging.getLogger(__name__)


class Plugins:
    """The plugins in the directories of ``settings``. ``close`` it; usable from one event loop."""

    def __init__(self, settings: PluginSettings, clock: Clock) -> None:
        self._settings = settings
        self._directories = Directories(settings.sockets, settings.specifications)
        self._clock = clock
        self._implements: dict[str, tuple[str, ...]] = {}
        self._activating: SingleFlight[tuple[str, ...], None] = SingleFlight("activate plugin")

    async def client(self, name: str, kind: str) -> PluginClient:
        """The plugin ``name``, activated, which implements ``kind``.

        Raises:
            NoSuchPlugin: there is none of that name.
            NotThatKind: it does not implement ``kind``.
            BadPluginFile, PluginFailed: it cannot be used.
        """
        implements = self._implements.get(name)
        if implements is None:
            implements = await self._activating.join(
                name, lambda _: self._activate(name), lambda _: None
            )
        if kind not in implements:
            raise NotThatKind(name, kind, implements)
        return self._client(name)

    async def names(self) -> list[str]:
        """All plugins that there are, of whatever kind. None of them is asked."""
        return await in_thread(self._directories.names)

    async def is_there(self, name: str) -> bool:
        """Whether there is a socket or a file of that name. The plugin itself is not asked.

        Raises:
            BadPluginFile: a file that cannot be used.
        """
        try:
            await in_thread(self._directories.find, name)
        except NoSuchPlugin:
            return False
        return True

    async def _activate(self, name: str) -> tuple[str, ...]:
        await in_thread(self._directories.find, name)
        manifest = await self._client(name).call("Plugin.Activate", None, Manifest)
        implements = self._implements[name] = manifest.implements or ()
        log.info('plugin "%s" implements %s', name, ", ".join(implements) or "nothing")
        return implements

    def _client(self, name: str) -> PluginClient:
        return PluginClient(name, self._directories, self._clock, self._settings)

    async def close(self) -> None:
        """Give up what is being activated."""
        await self._activating.close()
