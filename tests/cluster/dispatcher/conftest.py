"""A world of one manager, where agents join."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sampan.testing.agents import AgentWorld


@pytest.fixture
async def world() -> AsyncIterator[AgentWorld]:
    async with AgentWorld() as world:
        await world.manager("m1")
        yield world
