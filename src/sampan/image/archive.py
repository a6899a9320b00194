"""``docker save`` and ``docker load``: one tar that is a docker archive and an OCI layout at once.

oci-layout, index.json              the OCI side
manifest.json, repositories         the docker side
blobs/sha256/<hex>                  configs, layer tars and manifests, shared by both
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sampan.aio import in_thread, shielded
from sampan.config import Paths
from sampan.errors import InvalidArgument
from sampan.image.archive_index import ArchiveIndex
from sampan.image.canonical import OCI_CONFIG, canonical_manifest
from sampan.image.config import chain_id, chain_ids, parse_config
from sampan.image.contract import BadLayer, Progress, Reference, Report
from sampan.image.deferred_delete import DISCARD_S, discard
from sampan.image.image_index import ImageIndex
from sampan.image.layers import LayerStore
from sampan.image.reference import parse
from sampan.image.tar import BLOCK, DIRECTORY, REGULAR, Entry, header, padding
from sampan.store.records import Image, Layer

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"


@dataclass(slots=True)
class Chosen:
    """An image to save, and under which names."""

    image: Image
    tags: list[Reference] = field(default_factory=list)


def choose(refs: Sequence[str], index: ImageIndex) -> list[Chosen]:
    """Raises NoSuchImage, InvalidArgument."""
    if not refs:
        raise InvalidArgument("name at least one image to save")
    chosen: dict[str, Chosen] = {}
    for ref in refs:
        image = index.get(ref)
        one = chosen.setdefault(image.id, Chosen(image))
        if not image.id[7:].startswith(ref.removeprefix("sha256:")):
            name = parse(ref)
            if not name.digest and name not in one.tags:
                one.tags.append(name)
    return list(chosen.values())


async def save(chosen: list[Chosen], layers: LayerStore) -> AsyncIterator[bytes]:
    """The archive in chunks; each layer once, however many images share it."""
    chains = [chain_id(one.image.layers) for one in chosen]
    with layers.hold(chains):
        yield header(Entry(b"blobs/", DIRECTORY, mode=0o755))
        yield header(Entry(b"blobs/sha256/", DIRECTORY, mode=0o755))
        written: set[str] = set()
        docker: list[dict[str, Any]] = []
        index: list[dict[str, Any]] = []
        repositories: dict[str, dict[str, str]] = {}
        for one in chosen:
            stack = list(reversed(layers.stack(chain_id(one.image.layers))))
            for layer in stack:
                if layer.diff_id not in written:
                    written.add(layer.diff_id)
                    async for chunk in _member_of(layer, layers):
                        yield chunk
            manifest = canonical_manifest(one.image, await in_thread(_sizes, stack, layers))
            for blob in (one.image.config, manifest):
                digest = _digest(blob)
                if digest not in written:
                    written.add(digest)
                    yield _member(_blob_path(digest), blob)
            docker.append(
                {
                    "Config": _blob_path(one.image.id),
                    "RepoTags": [tag.familiar for tag in one.tags] or None,
                    "Layers": [_blob_path(layer.diff_id) for layer in stack],
                }
            )
            index += _descriptors(one, manifest)
            for tag in one.tags:
                name = tag.familiar.rpartition(":")[0]
                top = stack[-1].diff_id if stack else one.image.id
                repositories.setdefault(name, {})[tag.tag] = top.removeprefix("sha256:")
        yield _member("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        oci = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index}
        yield _member("index.json", _json(oci))
        yield _member("manifest.json", _json(docker))
        if repositories:
            yield _member("repositories", _json(repositories))
        yield bytes(2 * BLOCK)


def _sizes(stack: list[Layer], layers: LayerStore) -> list[int]:
    return [layers.tar_bytes(layer) for layer in stack]


def _descriptors(one: Chosen, manifest: bytes) -> Iterator[dict[str, Any]]:
    base = {"mediaType": OCI_MANIFEST, "digest": _digest(manifest), "size": len(manifest)}
    for tag in one.tags:
        yield base | {
            "annotations": {
                "io.containerd.image.name": tag.canonical,
                "org.opencontainers.image.ref.name": tag.tag,
            }
        }
    if not one.tags:
        yield base


async def _member_of(layer: Layer, layers: LayerStore) -> AsyncIterator[bytes]:
    size = await in_thread(layers.tar_bytes, layer)
    name = _blob_path(layer.diff_id).encode()
    yield header(Entry(name, REGULAR, mode=0o644, size=size))
    async for chunk in layers.tar(layer):
        yield chunk
    yield bytes(padding(size))


def _member(name: str, body: bytes) -> bytes:
    head = header(Entry(name.encode(), REGULAR, mode=0o644, size=len(body)))
    return head + body + bytes(padding(len(body)))


def _blob_path(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# ---------------------------------------------------------------- load


@dataclass(frozen=True, slots=True)
class _Packed:
    """An image as an archive describes it."""

    config: str
    layers: tuple[str, ...]
    tags: tuple[str, ...]


async def load(
    archive: AsyncIterator[bytes],
    paths: Paths,
    index: ImageIndex,
    layers: LayerStore,
    report: Report,
) -> list[str]:
    """Take in every image of the archive.

    Raises:
        BadLayer: no such archive, or one that contradicts itself. Exhausted: the disk is full.
    """
    scratch = paths.tmp / f"load-{secrets.token_hex(8)}"
    try:
        await shielded(in_thread(scratch.mkdir))
        spool = await ArchiveIndex.fill(scratch / "archive.tar", archive)
        found = await in_thread(_described, spool)
        if not found:
            raise BadLayer(
                "the archive has neither manifest.json nor index.json: use 'docker import' for "
                "the tar of a root file system"
            )
        names: list[str] = []
        for one in found:
            names += await _load_image(one, spool, index, layers, report)
        return names
    finally:
        await shielded(in_thread(discard, scratch), deadline_s=DISCARD_S)


async def _load_image(
    one: _Packed, spool: ArchiveIndex, index: ImageIndex, layers: LayerStore, report: Report
) -> list[str]:
    blob = await in_thread(spool.read, one.config)
    image_id = _digest(blob)
    config = parse_config(blob)
    if len(config.diff_ids) != len(one.layers):
        raise BadLayer(
            f"invalid manifest, layers length mismatch: expected {len(config.diff_ids)}, "
            f"got {len(one.layers)}"
        )
    chains = chain_ids(config.diff_ids)
    with layers.hold(chains):
        size = 0
        parent = ""
        for diff_id, chain, member in zip(config.diff_ids, chains, one.layers, strict=True):
            layer = layers.get(chain)
            if layer is None and (known := layers.by_diff_id(diff_id)) is not None:
                layer = layers.alias(known, parent)
            if layer is None:
                part = spool.slice(member)
                short = diff_id[7:19]
                report(Progress("Loading layer", id=short, current=0, total=part.size))
                layer = await layers.unpack(part, parent=parent, diff_id=diff_id)
                report(Progress("Loading layer", id=short, current=part.size, total=part.size))
            size += layer.size
            parent = chain
        tags = tuple(parse(tag) for tag in one.tags)
        index.put(image_id, blob, size, names=tags)
    if not tags:
        return [image_id]
    return [tag.familiar for tag in tags]


def _described(spool: ArchiveIndex) -> list[_Packed]:
    try:
        if "manifest.json" in spool:
            return [
                _Packed(
                    _norm(one["Config"]),
                    tuple(_norm(layer) for layer in one.get("Layers") or ()),
                    tuple(one.get("RepoTags") or ()),
                )
                for one in json.loads(spool.read("manifest.json"))
            ]
        if "index.json" in spool:
            return list(_indexed(spool, json.loads(spool.read("index.json"))["manifests"], ""))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadLayer(f"the archive's manifest makes no sense: {error!r}") from error
    return []


def _indexed(spool: ArchiveIndex, manifests: list[dict[str, Any]], name: str) -> Iterator[_Packed]:
    for descriptor in manifests:
        notes = descriptor.get("annotations") or {}
        label = notes.get("io.containerd.image.name") or name
        path = _blob_path(descriptor["digest"])
        if path not in spool:
            continue  # an index may speak of platforms that were not saved
        content = json.loads(spool.read(path))
        if "manifests" in content:
            yield from _indexed(spool, content["manifests"], label)
        elif content["config"]["mediaType"] in (OCI_CONFIG, DOCKER_CONFIG):
            yield _Packed(
                _blob_path(content["config"]["digest"]),
                tuple(_blob_path(layer["digest"]) for layer in content["layers"]),
                (label,) if label else (),
            )


def _norm(name: str) -> str:
    return os.path.normpath(name)
