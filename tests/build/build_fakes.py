"""Images and snapshots in plain directories: every snapshot is a full copy of its stack."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from sampan.image.config import chain_id, encode_config, parse_config, parse_time
from sampan.image.contract import Credentials, ImageConfig, InUse, NoSuchImage, Removed, Report
from sampan.image.reference import parse
from sampan.runtime.contract import BundleSpec
from sampan.store.contract import Store, Transaction
from sampan.store.records import Image, ImageTag, Layer
from sampan.testing.runs import FakeProcess, FakeRuns


class PlainSnapshots:
    driver = "vfs"

    def __init__(self, store: Store, base: Path) -> None:
        self._store, self._base = store, base
        self.open: dict[str, str] = {}
        self.prepared = 0

    async def prepare(self, key: str, chain_id: str) -> None:
        self.prepared += 1
        self.open[key] = chain_id
        if chain_id:
            shutil.copytree(self._layer(chain_id), self._path(key), symlinks=True)
        else:
            self._path(key).mkdir(parents=True)

    async def mount(self, key: str) -> Path:
        assert key in self.open
        return self._path(key)

    async def remove(self, key: str) -> None:
        if self.open.pop(key, None) is not None:
            shutil.rmtree(self._path(key))

    async def commit(self, key: str, *, comment: str = "") -> tuple[str, str]:
        parent = self.open.pop(key)
        path = self._path(key)
        summed = hashlib.sha256(parent.encode())
        for item in sorted(path.rglob("*")):
            summed.update(str(item.relative_to(path)).encode())
            if item.is_file() and not item.is_symlink():
                summed.update(item.read_bytes())
        diff_id = f"sha256:{summed.hexdigest()}"
        chain = chain_id((parent, diff_id)) if parent else diff_id
        if self._layer(chain).exists():
            shutil.rmtree(path)
        else:
            path.rename(self._layer(chain))
        layer = Layer(chain_id=chain, diff_id=diff_id, parent=parent, size=1)
        self._store.transact(lambda tx: tx.layers.put(layer))
        return chain, diff_id

    def files(self, image: Image) -> Path:
        return self._layer(chain_id(image.layers))

    def _path(self, key: str) -> Path:
        return self._base / key

    def _layer(self, chain: str) -> Path:
        return self._base / f"layer-{chain.removeprefix('sha256:')}"


class PlainImages:
    def __init__(self, store: Store, snapshots: PlainSnapshots) -> None:
        self._store, self._snapshots = store, snapshots
        self.registry: dict[str, Image] = {}
        self.pulls: list[tuple[str, Credentials | None, str]] = []

    def get(self, ref: str) -> Image:
        if ref in self._store.images:
            return self._store.images[ref]
        tag = self._store.image_tags.get(parse(ref).canonical)
        if tag is None:
            raise NoSuchImage(ref)
        return self._store.images[tag.image_id]

    def config(self, image: Image) -> ImageConfig:
        return parse_config(image.config)

    async def pull(
        self,
        ref: str,
        *,
        credentials: Credentials | None = None,
        platform: str = "",
        report: Report = lambda _: None,
    ) -> Image:
        self.pulls.append((ref, credentials, platform))
        if ref not in self.registry:
            raise NoSuchImage(ref)
        return self.registry[ref]

    async def create(
        self,
        *,
        config: dict[str, object],
        layers: Sequence[str],
        parent: str = "",
        comment: str = "",
    ) -> Image:
        image_id, blob = encode_config(config)
        image = Image(
            id=image_id,
            config=blob,
            layers=tuple(layers),
            size=len(layers),
            created_at=parse_time(parse_config(blob).created),
            parent=parent,
        )
        self._store.transact(lambda tx: tx.images.put(image))
        return image

    def tag(self, image_id: str, ref: str) -> None:
        row = ImageTag(name=parse(ref).canonical, image_id=image_id)
        self._store.transact(lambda tx: tx.image_tags.put(row))

    async def remove(
        self,
        ref: str,
        *,
        force: bool = False,
        prune_parents: bool = True,
        in_use: InUse,
    ) -> Removed:
        image = self.get(ref)

        def change(tx: Transaction) -> None:
            tx.images.delete(image.id)
            kept = {chain_id(i.layers[:n]) for i in tx.images for n in range(len(i.layers) + 1)}
            for layer in list(tx.layers):
                if layer.chain_id not in kept:
                    tx.layers.delete(layer.chain_id)

        self._store.transact(change)
        return Removed(deleted=(image.id,))


class Shell:
    """``sh -c`` for ``FakeRuns``: "touch P", "cat P", "write P WORDS", "env", "exit N", "hang"
    joined by " && "; it works on the run's root directory."""

    def __init__(self, runs: FakeRuns) -> None:
        self._runs = runs
        self.specs: list[BundleSpec] = []
        runs.programs["sh"] = self

    async def __call__(self, process: FakeProcess) -> int:
        run = next(run for run in self._runs.runs.values() if run.process is process)
        self.specs.append(run.spec)
        for line in process.args[2].strip().split(" && "):
            match line.split():
                case ["touch", path]:
                    (run.spec.rootfs / path.lstrip("/")).touch()
                case ["write", path, *words]:
                    (run.spec.rootfs / path.lstrip("/")).write_text(" ".join(words))
                case ["cat", path]:
                    process.io.print((run.spec.rootfs / path.lstrip("/")).read_bytes())
                case ["echo", *words]:
                    process.io.print(" ".join(words).encode() + b"\n")
                case ["env"]:
                    process.io.print("".join(f"{e}\n" for e in run.spec.env).encode())
                case ["exit", code]:
                    return int(code)
                case ["hang"]:
                    await process.done.wait()
                case other:
                    raise AssertionError(other)
        return 0
