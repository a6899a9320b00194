from __future__ import annotations

import asyncio
from pathlib import Path

from sampan.image.deferred_delete import DeferredDelete


async def test_what_goes_stays_until_it_may_go(tmp_path: Path) -> None:
    doomed, sooner = tmp_path / "doomed", tmp_path / "sooner"
    for directory in (doomed, sooner):
        (directory / "deep").mkdir(parents=True)
    trash, allowed = DeferredDelete(), asyncio.Event()
    trash.put(doomed, after=_when(allowed))
    trash.put(sooner)
    async with asyncio.timeout(10):
        while sooner.exists():  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert doomed.exists()
    allowed.set()
    await trash.close()
    assert not doomed.exists()


async def _when(allowed: asyncio.Event) -> None:
    await allowed.wait()
