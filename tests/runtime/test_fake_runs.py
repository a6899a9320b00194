"""The fake keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.runtime.contract import BundleSpec
from sampan.store.records import HostConfig
from sampan.testing.contracts.runs import Bundles, RunsContract
from sampan.testing.runs import FakeRuns


class TestFakeRuns(RunsContract):
    @pytest.fixture
    async def runs(self) -> AsyncIterator[FakeRuns]:
        fake = FakeRuns()
        yield fake
        await fake.close()

    @pytest.fixture
    def bundle(self) -> Bundles:
        def make(run_id: str, *args: str, open_stdin: bool = False) -> BundleSpec:
            return BundleSpec(
                id=run_id,
                rootfs=Path("/"),
                args=args,
                env=(),
                user="",
                working_dir="/",
                hostname="h",
                domainname="",
                tty=False,
                open_stdin=open_stdin,
                stop_signal=15,
                labels={},
                host=HostConfig(),
                mounts=(),
                etc_files={},
                netns="host",
                log_path=None,
                default_shm_bytes=1 << 20,
            )

        return make
