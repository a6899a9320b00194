"""Volumes on the wire."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from sampan.api.types.common import Wire


class UsageData(Wire, kw_only=True):
    ref_count: int
    size: int


class VolumeBody(Wire, kw_only=True):
    created_at: str
    driver: str
    labels: dict[str, str] | None
    mountpoint: str
    name: str
    options: dict[str, str] | None
    scope: str
    status: dict[str, object] | UnsetType = UNSET
    usage_data: UsageData | UnsetType = UNSET


class VolumeList(Wire, kw_only=True):
    volumes: list[VolumeBody]
    warnings: list[str] | None = None


class CreateBody(Wire, kw_only=True):
    name: str | None = ""
    driver: str | None = ""
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: object = None


CREATE_DECODER = msgspec.json.Decoder(CreateBody)
__all__ = ["CREATE_DECODER", "UNSET", "CreateBody", "UsageData", "VolumeBody", "VolumeList"]
