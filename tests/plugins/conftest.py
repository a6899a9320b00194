"""Plugins in directories of a test's own, and a fixture that starts them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sampan.aio import SystemClock
from sampan.config import PluginSettings
from sampan.plugins.discovery import Directories
from sampan.plugins.plugins import Plugins
from sampan.testing.daemon import short_directory
from sampan.testing.plugins.process import PluginProcess, Start, running_plugin


@pytest.fixture
def base() -> Iterator[Path]:
    with short_directory() as directory:
        yield Path(directory)


@pytest.fixture
def settings(base: Path) -> PluginSettings:
    """Directories of the test's own. Gives up at the first connection that is refused; waits a
    second for an answer."""
    return PluginSettings(
        sockets=base / "run",
        specifications=(base / "etc", base / "lib"),
        connect_s=0.5,
        answer_s=1.0,
    )


@pytest.fixture
def directories(settings: PluginSettings) -> Directories:
    return Directories(settings.sockets, settings.specifications)


@pytest.fixture
def start(base: Path) -> Iterator[Start]:
    with ExitStack() as stack:

        def started(kind: str, name: str = "plug") -> PluginProcess:
            return stack.enter_context(running_plugin(kind, name, base / "run", base / name))

        yield started


@pytest.fixture
async def plugins(settings: PluginSettings) -> AsyncIterator[Plugins]:
    known = Plugins(settings, SystemClock())
    yield known
    await known.close()
