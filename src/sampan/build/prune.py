"""``docker builder prune``: cache rows go, and the images that nothing else holds."""

from __future__ import annotations

from collections.abc import Callable

from sampan.errors import SampanError
from sampan.image.contract import Images, InUse
from sampan.store.contract import Store, Transaction
from sampan.store.records import BuildCacheEntry


async def prune(
    store: Store,
    images: Images,
    matches: Callable[[BuildCacheEntry], bool],
    *,
    everything: bool,
    in_use: InUse,
) -> tuple[list[str], int]:
    """Without ``everything``, steps that a tagged image or a container stands on stay cached.

    Returns the keys' images that are gone, and the bytes of their layers.
    """
    held = _ancestors(
        store,
        {tag.image_id for tag in store.image_tags.values()}
        | {digest.image_id for digest in store.image_digests.values()}
        | {container.image_id for container in store.containers.values()},
    )
    rows = [
        row
        for row in store.build_cache.values()
        if matches(row) and (everything or row.image_id not in held)
    ]

    def forget(tx: Transaction) -> None:
        for row in rows:
            tx.build_cache.delete(row.key)

    if rows:
        store.transact(forget)
    before = sum(layer.size for layer in store.layers.values())
    # Newest first: a step's image can only go after those built on it.
    still = {row.image_id for row in store.build_cache.values()}
    doomed = sorted(
        {row.image_id for row in rows} - held - still,
        key=lambda image_id: store.images[image_id].created_at if image_id in store.images else 0,
        reverse=True,
    )
    gone: list[str] = []
    for image_id in doomed:
        if image_id not in store.images or in_use(image_id) is not None:
            continue
        try:
            await images.remove(image_id, prune_parents=False, in_use=in_use)
        except SampanError:
            continue  # something began to use it meanwhile: then it is not ours to remove
        gone.append(image_id)
    return gone, before - sum(layer.size for layer in store.layers.values())


def _ancestors(store: Store, found: set[str]) -> set[str]:
    queue = list(found)
    while queue:
        image = store.images.get(queue.pop())
        if image is not None and image.parent and image.parent not in found:
            found.add(image.parent)
            queue.append(image.parent)
    return found
