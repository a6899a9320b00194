from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.testing.world import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path)
    await world.boot()
    yield world
    await world.stop()
    await world.tasks.close()
    await world.runs.close()
