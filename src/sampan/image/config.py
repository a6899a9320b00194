"""An OCI image config: from its JSON to the frozen value that containers inherit, and chain IDs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from sampan.image.contract import BadLayer, ImageConfig


class _Exec(msgspec.Struct):
    """The ``config`` object; null is allowed for every list."""

    env: list[str] | None = msgspec.field(name="Env", default=None)
    entrypoint: list[str] | None = msgspec.field(name="Entrypoint", default=None)
    cmd: list[str] | None = msgspec.field(name="Cmd", default=None)
    user: str | None = msgspec.field(name="User", default=None)
    working_dir: str | None = msgspec.field(name="WorkingDir", default=None)
    labels: dict[str, str] | None = msgspec.field(name="Labels", default=None)
    exposed_ports: dict[str, Any] | None = msgspec.field(name="ExposedPorts", default=None)
    volumes: dict[str, Any] | None = msgspec.field(name="Volumes", default=None)
    stop_signal: str | None = msgspec.field(name="StopSignal", default=None)
    shell: list[str] | None = msgspec.field(name="Shell", default=None)
    on_build: list[str] | None = msgspec.field(name="OnBuild", default=None)
    healthcheck: dict[str, Any] | None = msgspec.field(name="Healthcheck", default=None)


class _Rootfs(msgspec.Struct):
    type: str = "layers"
    diff_ids: list[str] | None = None


class _Config(msgspec.Struct):
    architecture: str = ""
    os: str = "linux"
    variant: str = ""
    author: str = ""
    created: str | None = None
    config: _Exec | None = None
    rootfs: _Rootfs | None = None
    history: list[dict[str, Any]] | None = None


def parse_config(blob: bytes) -> ImageConfig:
    """Read an image config blob; unknown keys are ignored.

    Raises:
        BadLayer: not an image config.
    """
    try:
        raw = msgspec.json.decode(blob, type=_Config)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadLayer(f"invalid image config: {error}") from error
    run = raw.config or _Exec()
    return ImageConfig(
        architecture=raw.architecture,
        os=raw.os,
        variant=raw.variant,
        author=raw.author,
        created=raw.created or "",
        env=tuple(run.env or ()),
        entrypoint=_maybe(run.entrypoint),
        cmd=_maybe(run.cmd),
        user=run.user or "",
        working_dir=run.working_dir or "",
        labels=run.labels or {},
        exposed_ports=tuple(run.exposed_ports or ()),
        volumes=tuple(run.volumes or ()),
        stop_signal=run.stop_signal or "",
        shell=_maybe(run.shell),
        on_build=_maybe(run.on_build),
        healthcheck=run.healthcheck,
        history=tuple(raw.history or ()),
        diff_ids=tuple((raw.rootfs.diff_ids if raw.rootfs else None) or ()),
    )


def _maybe(words: list[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(words)


def encode_config(config: dict[str, object]) -> tuple[str, bytes]:
    """(image id, blob) of a complete config. Keys keep their order, so equal input gives an
    equal id."""
    blob = msgspec.json.encode(config)
    return f"sha256:{hashlib.sha256(blob).hexdigest()}", blob


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """The chain ID of every prefix of ``diff_ids``, lowest first."""
    chains: list[str] = []
    for diff_id in diff_ids:
        if not chains:
            chains.append(diff_id)
        else:
            joined = hashlib.sha256(f"{chains[-1]} {diff_id}".encode()).hexdigest()
            chains.append(f"sha256:{joined}")
    return tuple(chains)


def chain_id(diff_ids: Sequence[str]) -> str:
    """The chain ID of the whole stack; empty for no layers."""
    chains = chain_ids(diff_ids)
    return chains[-1] if chains else ""


def rfc3339(seconds: float) -> str:
    """``2026-08-01T10:00:00.123456Z``."""
    stamp = datetime.fromtimestamp(seconds, UTC)
    return stamp.isoformat(timespec="microseconds").replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 stamp (any number of decimals); 0.0 if unreadable."""
    try:
        return datetime.fromisoformat(_six_decimals(text)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _six_decimals(text: str) -> str:
    # Go writes nanoseconds; datetime takes at most microseconds before Python 3.12.
    head, dot, tail = text.partition(".")
    if not dot:
        return text
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return f"{head}.{tail[:digits][:6].ljust(6, '0')}{tail[digits:]}"
