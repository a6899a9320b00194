"""Images and snapshots in memory, for tests of what stands on them.

``FakeSnapshots`` passes the same contract suite as overlay and vfs; its "mounts" are directories
that a test can look into. ``FakeImages`` keeps images that a test put there and pulls those that
it put into ``remote``.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import msgspec

from sampan.aio import SystemClock
from sampan.errors import Conflict, InvalidArgument, NotFound, Unauthorized
from sampan.image.config import chain_id, chain_ids, encode_config, parse_config
from sampan.image.contract import (
    Change,
    Credentials,
    Described,
    ImageConfig,
    InUse,
    NoSuchImage,
    Platform,
    Progress,
    Reference,
    Removed,
    Report,
)
from sampan.image.image_index import ImageIndex
from sampan.image.manifest import OCI_MANIFEST
from sampan.image.reference import parse
from sampan.store.contract import Store
from sampan.store.records import Image
from sampan.testing.store import MemoryStore


def _silent(_: Progress) -> None:
    return None


class FakeSnapshots:
    """``Snapshots`` whose stacks are plain files in memory.

    A layer is what its snapshot's tree was when it was committed; trees live below ``root``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.parents: dict[str, str] = {}
        self.mounted: set[str] = set()
        self.layers: dict[str, bytes] = {}
        """Chain ID -> the whole tree as a tar."""
        self.accept_any = False
        """Chains that nobody committed count as empty, for tests that only need a root."""

    @property
    def driver(self) -> str:
        return "vfs"

    def _tree(self, key: str) -> Path:
        if key not in self.parents:
            raise NotFound(f"No such snapshot: {key}")
        return self.root / key

    async def prepare(self, key: str, chain_id: str) -> None:
        if not key or key.startswith(".") or "/" in key:
            raise InvalidArgument(f"invalid snapshot key {key!r}")
        if key in self.parents:
            raise Conflict(f"snapshot {key} exists already")
        if chain_id and chain_id not in self.layers and not self.accept_any:
            raise InvalidArgument(f"layer {chain_id} is not on this host")
        (self.root / key).mkdir(parents=True)
        if body := self.layers.get(chain_id):
            with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                tar.extractall(self.root / key)
        self.parents[key] = chain_id

    async def mount(self, key: str) -> Path:
        tree = self._tree(key)
        self.mounted.add(key)
        return tree

    async def unmount(self, key: str) -> None:
        self.mounted.discard(key)

    async def remove(self, key: str) -> None:
        self.mounted.discard(key)
        if self.parents.pop(key, None) is not None:
            shutil.rmtree(self.root / key)

    async def commit(self, key: str, *, comment: str = "") -> tuple[str, str]:
        body = self._changes(key)
        tree = _tar(self._tree(key))
        diff = f"sha256:{hashlib.sha256(body).hexdigest()}"
        parent = self.parents[key]
        chain = (
            f"sha256:{hashlib.sha256(f'{parent} {diff}'.encode()).hexdigest()}" if parent else diff
        )
        self.layers[chain] = tree
        await self.remove(key)
        return chain, diff

    async def diff(self, key: str) -> AsyncIterator[bytes]:
        body = self._changes(key)

        async def once() -> AsyncIterator[bytes]:
            yield body

        return once()

    async def size(self, key: str) -> int:
        with tarfile.open(fileobj=io.BytesIO(self._changes(key))) as tar:
            return sum(member.size for member in tar)

    async def changes(self, key: str, skip: frozenset[str] = frozenset()) -> list[Change]:
        now = _members(_tar(self._tree(key)))
        before = _members(self.layers.get(self.parents[key], b""))
        found: list[Change] = []
        for name in sorted(now.keys() | before.keys()):
            if name not in now:
                parent = os.path.dirname(name)
                if not parent or parent in now:
                    found.append(Change("deleted", f"/{name}"))
            elif name not in before:
                if now[name][1] or f"/{name}" not in skip:
                    found.append(Change("added", f"/{name}"))
            elif now[name][1:] != before[name][1:]:
                found.append(Change("modified", f"/{name}"))
        return found

    async def layer(self, key: str, skip: frozenset[str] = frozenset()) -> tuple[str, str]:
        body, parent = self._changes(key), self.parents[key]
        diff = f"sha256:{hashlib.sha256(body).hexdigest()}"
        chain = (
            f"sha256:{hashlib.sha256(f'{parent} {diff}'.encode()).hexdigest()}" if parent else diff
        )
        self.layers[chain] = _tar(self._tree(key))
        return chain, diff

    async def keys(self) -> list[str]:
        return sorted(self.parents)

    def _changes(self, key: str) -> bytes:
        """The tree against its parent's: changed members, and ``.wh.`` for those that went."""
        now = _members(_tar(self._tree(key)))
        before = _members(self.layers.get(self.parents[key], b""))
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name in sorted(now.keys() | before.keys()):
                if name not in now:
                    parent, base = os.path.split(name)
                    if parent and parent not in now:
                        continue
                    tar.addfile(tarfile.TarInfo(os.path.join(parent, f".wh.{base}")))
                elif name not in before or now[name][1:] != before[name][1:]:
                    member, body, _ = now[name]
                    tar.addfile(member, io.BytesIO(body))
        return out.getvalue()


def _tar(tree: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(tree.rglob("*")):
            tar.add(path, str(path.relative_to(tree)), recursive=False)
    return out.getvalue()


def _members(body: bytes) -> dict[str, tuple[tarfile.TarInfo, bytes, tuple[object, ...]]]:
    found: dict[str, tuple[tarfile.TarInfo, bytes, tuple[object, ...]]] = {}
    if body:
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                content = file.read() if file is not None else b""
                facts = (member.type, member.mode, member.uid, member.gid, member.linkname)
                found[member.name] = (member, content, facts)
    return found


class FakeImages:
    """``Images`` whose index is the real one and whose layers are only names."""

    def __init__(self, store: Store | None = None) -> None:
        self.store = store or MemoryStore()
        self.catalog = ImageIndex(self.store, SystemClock())
        self.remote: dict[str, dict[str, object]] = {}
        """Canonical reference -> config, for ``pull``."""
        self.pulled: list[str] = []
        self.passwords: dict[str, str] = {}
        """Registry -> the one that ``login`` takes."""

    def add(
        self,
        ref: str = "",
        *,
        diff_ids: Iterable[str] = (),
        parent: str = "",
        **run: object,
    ) -> Image:
        """An image called ``ref``; ``run`` is its config object (``Cmd=[...]``, ``Env=[...]``)."""
        return self._put(
            {
                "architecture": "amd64",
                "os": "linux",
                "created": "2026-01-01T00:00:00Z",
                "config": run,
                "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
                "history": [],
            },
            ref,
            parent,
        )

    def _put(self, config: dict[str, object], ref: str = "", parent: str = "") -> Image:
        image_id, blob = encode_config(config)
        names = (parse(ref),) if ref else ()
        return self.catalog.put(image_id, blob, 0, names=names, parent=parent)

    def get(self, ref: str) -> Image:
        return self.catalog.get(ref)

    def config(self, image: Image) -> ImageConfig:
        return self.catalog.config(image)

    def all(self) -> list[Image]:
        return self.catalog.all()

    def tags(self, image_id: str) -> list[str]:
        return self.catalog.tags(image_id)

    def digests(self, image_id: str) -> list[str]:
        return self.catalog.digests(image_id)

    async def pull(
        self,
        ref: str,
        *,
        credentials: Credentials | None = None,
        platform: str = "",
        report: Report = _silent,
    ) -> Image:
        reference = parse(ref)
        self.pulled.append(reference.canonical)
        if reference.canonical not in self.remote:
            raise NoSuchImage(reference.familiar)
        report(Progress(f"Pulling from {reference.repository}", id=reference.tag))
        image = self._put(self.remote[reference.canonical], ref)
        report(Progress(f"Status: Downloaded newer image for {reference.familiar}"))
        return image

    async def load(
        self, archive: AsyncIterator[bytes], *, report: Report = _silent
    ) -> Sequence[str]:
        """Takes what ``save`` of another fake gave."""
        body = b"".join([chunk async for chunk in archive])
        images = [self._put_blob(line) for line in body.splitlines()]
        return [image.id for image in images]

    def _put_blob(self, blob: bytes) -> Image:
        image_id = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        return self.catalog.put(image_id, blob, 0)

    async def save(self, refs: Sequence[str]) -> AsyncIterator[bytes]:
        for ref in refs:
            yield self.get(ref).config + b"\n"

    async def import_rootfs(
        self,
        archive: AsyncIterator[bytes],
        *,
        ref: str = "",
        message: str = "",
        config: dict[str, object] | None = None,
        platform: str = "",
    ) -> Image:
        body = b"".join([chunk async for chunk in archive])
        diff = f"sha256:{hashlib.sha256(body).hexdigest()}"
        run = {key: value for key, value in (config or {}).items() if key not in ("ref", "parent")}
        return self.add(ref, diff_ids=[diff], parent="", **run)

    async def create(
        self,
        *,
        config: dict[str, object],
        layers: Sequence[str],
        parent: str = "",
        comment: str = "",
    ) -> Image:
        image_id, blob = encode_config(config)
        if parse_config(blob).diff_ids != tuple(layers):
            raise InvalidArgument("rootfs.diff_ids of the image config are not its layers")
        return self.catalog.put(image_id, blob, 0, parent=parent, comment=comment)

    def tag(self, image_id: str, ref: str) -> None:
        self.catalog.tag(image_id, ref)

    async def remove(
        self,
        ref: str,
        *,
        force: bool = False,
        prune_parents: bool = True,
        in_use: InUse,
    ) -> Removed:
        return self.catalog.remove(ref, force=force, prune_parents=prune_parents, in_use=in_use)

    async def push(
        self, ref: str, *, credentials: Credentials | None = None, report: Report = _silent
    ) -> str:
        """``remote`` has it afterwards, for those who pull."""
        image, reference = self.get(ref), parse(ref)
        report(Progress(f"The push refers to repository [{reference.familiar}]"))
        self.remote[reference.canonical] = msgspec.json.decode(image.config)
        return image.id

    async def login(self, server: str, credentials: Credentials | None) -> None:
        if credentials is None or credentials.password != self.passwords.get(server):
            raise Unauthorized(f"login attempt to {server} failed with status: 401 Unauthorized")

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        if reference.canonical not in self.remote:
            raise NotFound(f"{reference.familiar} is not in its registry")
        image_id, blob = encode_config(self.remote[reference.canonical])
        return Described(OCI_MANIFEST, image_id, len(blob), (Platform("amd64", "linux"),))

    def layer_sizes(self, image: Image) -> list[int]:
        return [
            self.store.layers[chain].size if chain in self.store.layers else 0
            for chain in chain_ids(image.layers)
        ]

    def disk_usage(self) -> int:
        return sum(layer.size for layer in self.store.layers.values())


__all__ = ["FakeImages", "FakeSnapshots", "chain_id"]
