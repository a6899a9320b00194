"""The fake keeps to what the real one keeps to."""

from __future__ import annotations

import pytest

from sampan.network.contract import Networks
from sampan.testing.contracts.networks import NetworksContract
from sampan.testing.networks import FakeNetworks


class TestFakeNetworks(NetworksContract):
    @pytest.fixture
    async def networks(self) -> Networks:
        fake = FakeNetworks()
        await fake.start([])
        return fake
