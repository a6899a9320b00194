"""Manifests and indexes of both families (OCI, Docker schema 2), and the choice of platform."""

from __future__ import annotations

import platform as machine
import re

import msgspec

from sampan.errors import InvalidArgument, NotFound, Unsupported
from sampan.image.contract import ImageConfig, Platform, RegistryFailed

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
ACCEPT = ", ".join((OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST))
LIMIT = 4 << 20
"""Bytes of a manifest; the distribution specification lets registries refuse more."""

_PART = re.compile(r"[a-z0-9._-]+")
HOST_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class Descriptor(msgspec.Struct, frozen=True):
    digest: str
    size: int = 0
    media_type: str = msgspec.field(name="mediaType", default="")
    platform: Platform | None = None
    urls: tuple[str, ...] | None = None


class Manifest(msgspec.Struct, frozen=True):
    config: Descriptor
    layers: tuple[Descriptor, ...]
    media_type: str = msgspec.field(name="mediaType", default="")


class Index(msgspec.Struct, frozen=True):
    manifests: tuple[Descriptor, ...]
    media_type: str = msgspec.field(name="mediaType", default="")


class _Either(msgspec.Struct):
    schema: int = msgspec.field(name="schemaVersion", default=0)
    media_type: str = msgspec.field(name="mediaType", default="")
    manifests: msgspec.Raw = msgspec.Raw()


def parse_manifest(body: bytes, media_type: str = "") -> Manifest | Index:
    """Raises RegistryFailed (no manifest), Unsupported (schema 1)."""
    try:
        either = msgspec.json.decode(body, type=_Either)
        if either.schema == 1:
            raise Unsupported(
                "this image has a schema 1 manifest, a format from 2015: push it again with any "
                "newer tool"
            )
        if bytes(either.manifests):
            return msgspec.json.decode(body, type=Index)
        return msgspec.json.decode(body, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RegistryFailed(f"the registry sent no manifest ({media_type}): {error}") from error


def parse_platform(text: str) -> Platform:
    """``linux/arm64/v8``, ``linux`` or ``arm64``; empty is this host.

    Raises:
        InvalidArgument: it is none.
    """
    host = HOST_ARCHITECTURES.get(machine.machine(), machine.machine())
    if not text:
        return Platform(host, "linux")
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise InvalidArgument(f"{text[:80]!r} is not a platform: write OS/ARCHITECTURE[/VARIANT]")
    if len(parts) == 1:
        known_os = parts[0] in ("linux", "windows")
        return Platform(host, parts[0]) if known_os else Platform(_normal(parts[0]), "linux")
    variant = parts[2] if len(parts) > 2 else ""
    return Platform(_normal(parts[1]), parts[0], variant)


def fits(config: ImageConfig, wanted: Platform) -> bool:
    """Whether an image is for ``wanted``. One that says nothing of its architecture or variant, as
    those made from a bare root file system, is for all."""
    return (
        config.os == wanted.os
        and config.architecture in ("", wanted.architecture)
        and (not wanted.variant or config.variant in ("", wanted.variant))
    )


def choose(index: Index, wanted: Platform) -> Descriptor:
    """The manifest for ``wanted``; the one with the same variant before any other.

    Raises:
        NotFound: with Docker's sentence.
    """
    fits = [
        found
        for found in index.manifests
        if found.platform is not None
        and found.platform.os == wanted.os
        and found.platform.architecture == wanted.architecture
    ]
    if wanted.variant:
        exact = [f for f in fits if f.platform is not None and f.platform.variant == wanted.variant]
        fits = exact or [f for f in fits if f.platform is not None and not f.platform.variant]
    if not fits:
        raise NotFound(f"no matching manifest for {wanted} in the manifest list entries")
    return fits[0]


def _normal(architecture: str) -> str:
    return {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}.get(
        architecture, architecture
    )
