"""Images as the API shows them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import UNSET

from sampan.api.timestamps import ZERO, rfc3339
from sampan.api.types import images as wire
from sampan.api.types.containers import GraphDriver
from sampan.image.contract import ImageConfig
from sampan.store.records import Image


def config_out(config: ImageConfig) -> wire.ImageExecConfig:
    return wire.ImageExecConfig(
        user=config.user,
        exposed_ports={port: {} for port in config.exposed_ports},
        env=list(config.env) or None,
        entrypoint=None if config.entrypoint is None else list(config.entrypoint),
        cmd=None if config.cmd is None else list(config.cmd),
        volumes={path: {} for path in config.volumes},
        working_dir=config.working_dir,
        labels=dict(config.labels),
        on_build=None if config.on_build is None else list(config.on_build),
        stop_signal=config.stop_signal,
        shell=None if config.shell is None else list(config.shell),
        healthcheck=config.healthcheck,
    )


def inspect(
    image: Image,
    config: ImageConfig,
    *,
    tags: Sequence[str],
    digests: Sequence[str],
    driver: str,
    version: tuple[int, int],
) -> wire.ImageInspect:
    return wire.ImageInspect(
        id=image.id,
        repo_tags=list(tags),
        repo_digests=list(digests),
        parent=image.parent,
        comment=image.comment,
        created=config.created or (rfc3339(image.created_at) if version < (1, 44) else UNSET),
        author=config.author,
        config=config_out(config),
        architecture=config.architecture,
        variant=config.variant or UNSET,
        os=config.os,
        size=image.size,
        virtual_size=image.size if version < (1, 44) else UNSET,
        graph_driver=GraphDriver(data=None, name=driver),
        root_fs=wire.RootFs(type="layers", layers=list(image.layers)),
        metadata=wire.Metadata(
            last_tag_time=rfc3339(image.last_tagged_at) if image.last_tagged_at else ZERO
        ),
    )


def summary(
    image: Image,
    config: ImageConfig,
    *,
    tags: Sequence[str],
    digests: Sequence[str],
    containers: int,
    version: tuple[int, int],
) -> wire.ImageSummary:
    """A row of ``docker images``. Before 1.43 a nameless one was ``<none>:<none>``."""
    shown_tags, shown_digests = list(tags), list(digests)
    if version < (1, 43) and not shown_tags:
        shown_tags = ["<none>:<none>"]
        shown_digests = shown_digests or ["<none>@<none>"]
    return wire.ImageSummary(
        id=image.id,
        parent_id=image.parent,
        repo_tags=shown_tags,
        repo_digests=shown_digests,
        created=int(image.created_at),
        size=image.size,
        shared_size=-1,
        virtual_size=image.size if version < (1, 44) else UNSET,
        labels=dict(config.labels),
        containers=containers,
    )


def history(
    image: Image, config: ImageConfig, *, tags: Sequence[str], layer_sizes: Sequence[int]
) -> list[wire.HistoryItem]:
    """Newest step first; only the newest has an id that is known."""
    rows: list[wire.HistoryItem] = []
    sizes = iter(layer_sizes)
    for step in config.history:
        size = 0 if step.get("empty_layer") else next(sizes, 0)
        rows.append(
            wire.HistoryItem(
                id="<missing>",
                created=_seconds(step.get("created")),
                created_by=str(step.get("created_by") or ""),
                tags=None,
                size=size,
                comment=str(step.get("comment") or ""),
            )
        )
    for size in sizes:  # layers that the history says nothing of
        rows.append(
            wire.HistoryItem(
                id="<missing>", created=0, created_by="", tags=None, size=size, comment=""
            )
        )
    rows.reverse()
    if rows:
        rows[0].id = image.id
        rows[0].tags = list(tags) or None
    return rows


def _seconds(written: object) -> int:
    if not isinstance(written, str) or not written:
        return 0
    try:
        return int(datetime.fromisoformat(written[:19] + "+00:00").timestamp())
    except ValueError:
        return 0  # another tool's history: a date is not worth a failure
