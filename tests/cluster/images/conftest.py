from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from images_hosts import Hosts

from sampan.aio import SystemClock
from sampan.testing.peers import PeerHub


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(PeerHub(SystemClock()))
        yield Hosts(tmp_path, hub, stack)
