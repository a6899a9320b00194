"""Images as objects: list, inspect, history, tag, remove, prune."""

from __future__ import annotations

import fnmatch
from collections import Counter

from aiohttp import web

from sampan.api import timestamps
from sampan.api.docker_request import DockerRequest
from sampan.api.filters import Filters
from sampan.api.translate import image as translate
from sampan.api.types import images as wire
from sampan.api.types.common import ImageDeleted, PruneReport
from sampan.errors import Conflict, NotFound
from sampan.http.router import Route
from sampan.image.contract import Images, Removed
from sampan.image.reference import parse
from sampan.store.events import Event
from sampan.store.records import Image

FILTERS = ("before", "dangling", "label", "reference", "since", "until")


def matches_reference(pattern: str, name: str) -> bool:
    """``reference=`` patterns: shell globs over the name with its tag, or without."""
    repository = name.rpartition(":")[0] if ":" in name.rpartition("/")[2] else name
    bare = repository.partition("@")[0]
    return any(fnmatch.fnmatchcase(candidate, pattern) for candidate in (name, repository, bare))


async def list_images(call: DockerRequest) -> web.Response:
    images = call.services.images
    filters = Filters.parse(call.text("filters"), FILTERS)
    if call.text("filter"):  # of old clients
        filters["reference"] = (call.text("filter"),)
    before = [images.get(ref).created_at for ref in filters.get("before", ())]
    since = [images.get(ref).created_at for ref in filters.get("since", ())]
    now = call.services.clock.now()
    before += [timestamps.parse_ns(v, "until", now=now) / 1e9 for v in filters.get("until", ())]
    everything = call.flag("all")
    wants_counts = call.version >= (1, 51) or call.flag("shared-size")
    users = Counter(c.image_id for c in call.services.engine.all())
    parents = {image.parent for image in images.all()}
    rows: list[wire.ImageSummary] = []
    for image in images.all():
        tags, digests = images.tags(image.id), images.digests(image.id)
        dangling = not tags
        if dangling and not everything and not digests and image.id in parents:
            continue  # a build's intermediate step
        if "dangling" in filters and filters.flag("dangling") != dangling:
            continue
        if any(image.created_at >= m for m in before) or any(image.created_at <= m for m in since):
            continue
        if patterns := filters.get("reference"):
            tags = [t for t in tags if any(matches_reference(p, t) for p in patterns)]
            digests = [d for d in digests if any(matches_reference(p, d) for p in patterns)]
            if not (tags or digests):
                continue
        config = images.config(image)
        if not filters.labels(config.labels):
            continue
        rows.append(
            translate.summary(
                image,
                config,
                tags=tags,
                digests=digests,
                containers=users[image.id] if wants_counts else -1,
                version=call.version,
            )
        )
    rows.sort(key=lambda row: row.created, reverse=True)
    return call.json(rows)


async def inspect(call: DockerRequest) -> web.Response:
    images = call.services.images
    image = images.get(call.path["name"])
    return call.json(
        translate.inspect(
            image,
            images.config(image),
            tags=images.tags(image.id),
            digests=images.digests(image.id),
            driver=call.services.system.storage_driver,
            version=call.version,
        )
    )


async def history(call: DockerRequest) -> web.Response:
    images = call.services.images
    image = images.get(call.path["name"])
    return call.json(
        translate.history(
            image,
            images.config(image),
            tags=images.tags(image.id),
            layer_sizes=images.layer_sizes(image),
        )
    )


async def tag(call: DockerRequest) -> web.Response:
    images = call.services.images
    image = images.get(call.path["name"])
    name, tag_name = call.needs("repo"), call.text("tag")
    reference = parse(f"{name}:{tag_name}" if tag_name else name)
    images.tag(image.id, reference.canonical)
    call.services.events.publish(Event("image", "tag", image.id, {"name": reference.familiar}))
    return call.empty(201)


def _deleted(call: DockerRequest, image: Image, removed: Removed) -> list[ImageDeleted]:
    events = call.services.events
    for name in removed.untagged:
        events.publish(Event("image", "untag", image.id, {"name": name}))
    for image_id in removed.deleted:
        events.publish(Event("image", "delete", image_id, {"name": image_id}))
    rows = [ImageDeleted(untagged=name) for name in removed.untagged]
    return rows + [ImageDeleted(deleted=image_id) for image_id in removed.deleted]


async def remove(call: DockerRequest) -> web.Response:
    image = call.services.images.get(call.path["name"])
    removed = await call.services.images.remove(
        call.path["name"],
        force=call.flag("force"),
        prune_parents=not call.flag("noprune"),
        in_use=call.services.image_user,
    )
    return call.json(_deleted(call, image, removed))


async def prune(call: DockerRequest) -> web.Response:
    """Images without a name; with the filter ``dangling=false`` all that no container uses."""
    services = call.services
    images = services.images
    filters = Filters.parse(call.text("filters"), ("dangling", "label", "label!", "until"))
    only_dangling = filters.flag("dangling", True)
    now = services.clock.now()
    until = [timestamps.parse_ns(v, "until", now=now) / 1e9 for v in filters.get("until", ())]
    before = images.disk_usage()
    rows: list[ImageDeleted] = []
    candidates = sorted(images.all(), key=lambda image: image.created_at, reverse=True)
    for image in candidates:
        if not _is_here(images, image) or any(image.created_at >= moment for moment in until):
            continue
        if _kept(call, image, only_dangling) or services.image_user(image.id):
            continue
        labels = images.config(image).labels
        if not (filters.labels(labels) and filters.without_labels(labels)):
            continue
        try:
            removed = await images.remove(image.id, force=True, in_use=services.image_user)
        except (Conflict, NotFound):
            continue  # in use since we looked, or needed by another image
        rows += _deleted(call, image, removed)
    reclaimed = before - images.disk_usage()
    return call.json(PruneReport(images_deleted=rows or None, space_reclaimed=max(0, reclaimed)))


def _is_here(images: Images, image: Image) -> bool:
    """Removing one image may have removed others that only it needed."""
    try:
        images.get(image.id)
    except NotFound:
        return False
    return True


def _kept(call: DockerRequest, image: Image, only_dangling: bool) -> bool:
    images = call.services.images
    if not only_dangling:
        return False
    named = bool(images.tags(image.id) or images.digests(image.id))
    return named or any(other.parent == image.id for other in images.all())


ROUTES = (
    Route("GET", "/images/json", list_images),
    Route("POST", "/images/prune", prune),
    Route("GET", "/images/{name:path}/json", inspect),
    Route("GET", "/images/{name:path}/history", history),
    Route("POST", "/images/{name:path}/tag", tag),
    Route("DELETE", "/images/{name:path}", remove),
)
