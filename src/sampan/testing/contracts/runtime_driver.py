"""What every OCI runtime does, seen through ``Runs``. Subclass, and provide the fixtures ``runs``
(whose registry has the runtime), ``runtime`` (its name) and ``bundle`` (see ``runs``)."""

from __future__ import annotations

import signal

import pytest

from sampan.runtime.contract import CommandNotFound, Runs
from sampan.store.records import Resources
from sampan.testing.contracts.runs import Bundles, collect, exec_spec


class RuntimeDriverContract:
    """The suite."""

    async def test_a_run_from_create_to_delete(
        self, runs: Runs, runtime: str, bundle: Bundles
    ) -> None:
        await runs.create(bundle("life", "sh", "-c", "echo hi; exit 3"), runtime=runtime)
        stream = await runs.attach("life")
        assert (await runs.inspect("life")).started is False
        await runs.start("life")
        assert (await collect(stream))["stdout"] == b"hi\n"
        assert (await runs.wait("life")).exit_code == 3
        await runs.delete("life")
        assert await runs.known() == []

    async def test_a_missing_command_is_told_and_leaves_nothing(
        self, runs: Runs, runtime: str, bundle: Bundles
    ) -> None:
        with pytest.raises(CommandNotFound):
            await runs.create(bundle("none", "nosuch"), runtime=runtime)
        assert await runs.known() == []

    async def test_exec_update_kill(self, runs: Runs, runtime: str, bundle: Bundles) -> None:
        await runs.create(bundle("lives", "sleep", "1000"), runtime=runtime)
        await runs.start("lives")
        process = await runs.exec(exec_spec("lives", "sh", "-c", "echo in; exit 4"))
        assert (await collect(process))["stdout"] == b"in\n"
        assert await process.wait() == 4
        await runs.update("lives", Resources(memory=64 << 20))
        await runs.kill("lives", signal.SIGKILL)
        assert (await runs.wait("lives")).exit_code == 128 + signal.SIGKILL
        await runs.delete("lives")

    async def test_a_run_that_was_never_started_is_deleted(
        self, runs: Runs, runtime: str, bundle: Bundles
    ) -> None:
        await runs.create(bundle("never", "true"), runtime=runtime)
        await runs.delete("never")
        assert await runs.known() == []
