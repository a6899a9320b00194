"""What ``RUN``, ``COPY`` and ``WORKDIR`` share: a snapshot, something written there, a layer.

    prepare ──> mount ──> write ──> commit ──> image row ──> cache row
                                    └ from here on a crash leaves only what a start sweeps

Every step with a layer makes an image, as Docker's classic builder does: ``docker history`` and
``docker images -a`` show the steps, and a cache row needs nothing but that image's id.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

from sampan.aio import shielded
from sampan.build.job import Job
from sampan.build.state import StageState, render, with_history

Write = Callable[[str, str], Awaitable[bool]]
"""(snapshot key, mounted root) -> whether anything was written."""


async def make_layer(
    job: Job,
    state: StageState,
    keys: Sequence[str],
    write: Write,
    *,
    created_by: str,
    comment: str = "",
) -> StageState:
    """The state after a step that writes files. On failure nothing is left.

    Nothing written means no layer, but a line of history all the same.
    """
    parts = job.parts
    async with job.slots, AsyncExitStack() as undo:
        key = secrets.token_hex(32)

        async def remove() -> None:
            await shielded(parts.snapshots.remove(key))

        undo.push_async_callback(remove)
        await parts.snapshots.prepare(key, state.chain_id)
        root = await parts.snapshots.mount(key)
        diff_id = ""
        if await write(key, str(root)):
            _, diff_id = await parts.snapshots.commit(key, comment=comment)
            undo.pop_all()
    config = with_history(
        state.config,
        created=parts.clock.now(),
        created_by=created_by,
        diff_id=diff_id,
        comment=comment,
    )
    image = await parts.images.create(
        config=render(config), layers=config.diff_ids, parent=state.image_id
    )
    job.cache.put(keys, image.id)
    return state.on(image, config)
