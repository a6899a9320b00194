from __future__ import annotations

import pytest

from sampan.testing.contracts.engine_api import EngineApiContract
from sampan.testing.engine_api import FakeApi


class TestFakeApi(EngineApiContract):
    @pytest.fixture
    def api(self) -> FakeApi:
        return FakeApi("busybox")
