"""The grammar of image references, as the distribution project defines it.

    [HOST[:PORT]/]COMPONENT[/COMPONENT...][:TAG][@ALGORITHM:HEX]

The first component is a host only when it has a dot, a colon, a capital or is ``localhost``:
otherwise ``a/b`` would be ambiguous.
"""

from __future__ import annotations

import re

from sampan.image.contract import BadReference, Reference

DEFAULT_REGISTRY = "docker.io"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
"""Characters of registry and repository together."""

_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?", re.ASCII)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})", re.ASCII)
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


def parse(text: str) -> Reference:
    """A reference with every default filled in: ``busybox`` is docker.io/library/busybox:latest.

    Raises:
        BadReference: with Docker's sentences.
    """
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _bad(text)
    registry, path = _split_host(rest)
    path, colon, tag = path.partition(":")
    if colon and not _TAG.fullmatch(tag):
        raise _bad(text)
    if registry and not _HOST.fullmatch(registry):
        raise _bad(text)
    if not _PATH.fullmatch(path):
        if _PATH.fullmatch(path.lower()) and path != path.lower():
            raise BadReference(
                f"invalid reference format: repository name ({path}) must be lowercase"
            )
        raise _bad(text)
    if not registry and _ID.fullmatch(path):
        raise BadReference(
            f"invalid repository name ({path}), cannot specify 64-byte hexadecimal strings"
        )
    registry = registry or DEFAULT_REGISTRY
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"{DEFAULT_NAMESPACE}/{path}"
    if len(registry) + 1 + len(path) > NAME_LIMIT:
        raise BadReference(
            f"invalid reference format: repository name must not be more than {NAME_LIMIT} "
            "characters"
        )
    if not tag and not digest:
        tag = DEFAULT_TAG
    return Reference(registry=registry, repository=path, tag=tag, digest=digest)


def is_digest(text: str) -> bool:
    """Is this ``sha256:HEX`` (or sha512) in full?"""
    return _DIGEST.fullmatch(text) is not None


def familiar_repository(ref: Reference) -> str:
    """``busybox``: the familiar name without tag or digest."""
    return Reference(ref.registry, ref.repository, tag="x").familiar.removesuffix(":x")


def _split_host(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    named = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if slash and named:
        return first, rest
    return "", text


def _bad(text: str) -> BadReference:
    if not text:
        return BadReference("invalid reference format: the reference is empty")
    return BadReference("invalid reference format")
