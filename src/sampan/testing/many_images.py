"""``Images`` over many: see ``sampan.testing.many_engines``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from sampan.errors import NotFound
from sampan.image.contract import (
    Credentials,
    Described,
    ImageConfig,
    Images,
    InUse,
    NoSuchImage,
    Reference,
    Removed,
    Report,
)
from sampan.store.records import (
    Image,
)
from sampan.testing.many_containers import has


class ManyImages:
    """``Images`` over many: what is pulled or loaded is on every node."""

    def __init__(self, nodes: Mapping[str, Images]) -> None:
        self.nodes = nodes

    def _with(self, ref: str) -> Images:
        for images in self.nodes.values():
            if has(lambda i=images: i.get(ref)):  # type: ignore[misc]
                return images
        raise NoSuchImage(ref)

    def get(self, ref: str) -> Image:
        return self._with(ref).get(ref)

    def config(self, image: Image) -> ImageConfig:
        return self._with(image.id).config(image)

    def all(self) -> list[Image]:
        found = {one.id: one for images in self.nodes.values() for one in images.all()}
        return list(found.values())

    def tags(self, image_id: str) -> list[str]:
        return self._union(lambda images: images.tags(image_id))

    def digests(self, image_id: str) -> list[str]:
        return self._union(lambda images: images.digests(image_id))

    def _union(self, ask: Callable[[Images], list[str]]) -> list[str]:
        return sorted({name for images in self.nodes.values() for name in ask(images)})

    async def pull(
        self,
        ref: str,
        *,
        credentials: Credentials | None = None,
        platform: str = "",
        report: Report = lambda _: None,
    ) -> Image:
        pulled = [
            await images.pull(ref, credentials=credentials, platform=platform, report=report)
            for images in self.nodes.values()
        ]
        return pulled[0]

    async def load(
        self, archive: AsyncIterator[bytes], *, report: Report = lambda _: None
    ) -> Sequence[str]:
        whole = b"".join([chunk async for chunk in archive])
        names: Sequence[str] = ()
        for images in self.nodes.values():
            names = await images.load(_once(whole), report=report)
        return names

    def save(self, refs: Sequence[str]) -> AsyncIterator[bytes]:
        return self._with(refs[0]).save(refs)

    async def import_rootfs(self, archive: AsyncIterator[bytes], **how: Any) -> Image:
        whole = b"".join([chunk async for chunk in archive])
        made = [await images.import_rootfs(_once(whole), **how) for images in self.nodes.values()]
        return made[0]

    async def create(self, *, layers: Sequence[str], **how: Any) -> Image:
        for images in self.nodes.values():
            return await images.create(layers=layers, **how)
        raise NotFound("there is no node")

    def tag(self, image_id: str, ref: str) -> None:
        for images in self.nodes.values():
            if has(lambda i=images: i.get(image_id)):  # type: ignore[misc]
                images.tag(image_id, ref)

    async def remove(
        self, ref: str, *, force: bool = False, prune_parents: bool = True, in_use: InUse
    ) -> Removed:
        removed = Removed()
        self._with(ref)
        for images in self.nodes.values():
            if has(lambda i=images: i.get(ref)):  # type: ignore[misc]
                removed = await images.remove(
                    ref, force=force, prune_parents=prune_parents, in_use=in_use
                )
        return removed

    async def push(
        self, ref: str, *, credentials: Credentials | None = None, report: Report = lambda _: None
    ) -> str:
        return await self._with(ref).push(ref, credentials=credentials, report=report)

    async def login(self, server: str, credentials: Credentials | None) -> None:
        for images in self.nodes.values():
            await images.login(server, credentials)

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        for images in self.nodes.values():
            return await images.describe(reference, auth)
        raise NotFound("there is no node")

    def layer_sizes(self, image: Image) -> list[int]:
        return self._with(image.id).layer_sizes(image)

    def disk_usage(self) -> int:
        return sum(images.disk_usage() for images in self.nodes.values())


async def _once(whole: bytes) -> AsyncIterator[bytes]:
    yield whole
