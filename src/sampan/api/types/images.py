"""Images on the wire, and the JSON lines of a transfer."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType, field

from sampan.api.types.common import Wire
from sampan.api.types.containers import GraphDriver


class ImageExecConfig(Wire, kw_only=True, omit_defaults=True):
    """``Config`` of an image: only what it says."""

    user: str = ""
    exposed_ports: dict[str, object] = {}
    env: list[str] | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    volumes: dict[str, object] = {}
    working_dir: str = ""
    labels: dict[str, str] = {}
    on_build: list[str] | None = None
    stop_signal: str = ""
    shell: list[str] | None = None
    healthcheck: dict[str, object] | None = None


class RootFs(Wire, kw_only=True):
    type: str
    layers: list[str]


class Metadata(Wire, kw_only=True):
    last_tag_time: str


class ImageInspect(Wire, kw_only=True):
    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    parent: str
    comment: str
    created: str | UnsetType = UNSET
    docker_version: str = ""
    author: str = ""
    config: ImageExecConfig
    architecture: str
    variant: str | UnsetType = UNSET
    os: str
    size: int
    virtual_size: int | UnsetType = UNSET
    graph_driver: GraphDriver
    root_fs: RootFs = field(name="RootFS")
    metadata: Metadata


class ImageSummary(Wire, kw_only=True):
    id: str
    parent_id: str
    repo_tags: list[str] | None
    repo_digests: list[str] | None
    created: int
    size: int
    shared_size: int
    virtual_size: int | UnsetType = UNSET
    labels: dict[str, str]
    containers: int


class HistoryItem(Wire, kw_only=True):
    id: str
    created: int
    created_by: str
    tags: list[str] | None
    size: int
    comment: str


class AuthBody(msgspec.Struct, kw_only=True):
    """``X-Registry-Auth`` and the body of ``/auth``; lower case on the wire."""

    username: str | None = ""
    password: str | None = ""
    auth: str | None = ""
    email: str | None = ""
    serveraddress: str | None = ""
    identitytoken: str | None = ""
    registrytoken: str | None = ""


AUTH_DECODER = msgspec.json.Decoder(AuthBody)
AUTHS_DECODER = msgspec.json.Decoder(dict[str, AuthBody])


class AuthAnswer(Wire, kw_only=True):
    status: str
    identity_token: str = ""


class DescriptorBody(msgspec.Struct, kw_only=True):
    """Spelled as in the image specification."""

    media_type: str = msgspec.field(name="mediaType")
    digest: str
    size: int


class PlatformBody(msgspec.Struct, kw_only=True, omit_defaults=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""


class DistributionBody(Wire, kw_only=True):
    descriptor: DescriptorBody
    platforms: list[PlatformBody]


class ProgressDetail(msgspec.Struct, omit_defaults=True):
    current: int = 0
    total: int = 0


class ErrorDetail(msgspec.Struct, omit_defaults=True):
    code: int = 0
    message: str = ""


class Line(
    msgspec.Struct,
    kw_only=True,
    rename={"progress_detail": "progressDetail", "error_detail": "errorDetail"},
):
    """One line of a JSON stream: pull, push, load, import, build."""

    stream: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    progress_detail: ProgressDetail | UnsetType = UNSET
    progress: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    aux: object = UNSET
    error_detail: ErrorDetail | UnsetType = UNSET
    error: str | UnsetType = UNSET
