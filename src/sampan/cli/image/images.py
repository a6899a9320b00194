"""``images``, ``tag``, ``rmi``, ``history``, ``image prune``."""

from __future__ import annotations

import time

from sampan.cli.terminal.console import Console, parse_filters
from sampan.cli.terminal.table import show_rows
from sampan.cli.units import ago, local_time
from sampan.client import images
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag
from sampan.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_NONE = "<none>"
_HEADERS = {
    "Repository": "REPOSITORY", "Tag": "TAG", "Digest": "DIGEST", "ID": "IMAGE ID",
    "CreatedSince": "CREATED", "CreatedAt": "CREATED AT", "Size": "SIZE",
    "Containers": "CONTAINERS", "SharedSize": "SHARED SIZE", "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "SIZE",
}  # fmt: skip
_HISTORY_HEADERS = {
    "ID": "IMAGE", "CreatedSince": "CREATED", "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY", "Size": "SIZE", "Comment": "COMMENT",
}  # fmt: skip


def _images(console: Console, args: Args) -> int:
    filters = parse_filters(args.many("filter"))
    if args.rest:
        filters.setdefault("reference", []).append(args.rest[0])
    whole = args.on("no-trunc")
    found = images.list_(console.client, all=args.on("all"), filters=filters)
    now = time.time()
    rows = [row for item in found for row in _rows(item, now, whole, args.on("digests"))]
    form = args.text("format")
    if args.on("quiet") and not form:
        for row in rows:
            console.out(row["ID"])
        return 0
    digest = ("Digest",) if args.on("digests") else ()
    columns = ("Repository", "Tag", *digest, "ID", "CreatedSince", "Size")
    show_rows(console, rows, _HEADERS, columns, form)
    return 0


def _rows(item: dict[str, Any], now: float, whole: bool, digests: bool) -> Iterator[dict[str, Any]]:
    """One row a name; nameless images have one of ``<none>``."""
    by_repo = {
        ref.partition("@")[0]: ref.partition("@")[2] for ref in item.get("RepoDigests") or ()
    }
    names = [images.split_tag(ref) for ref in item.get("RepoTags") or ()]
    names = [name for name in names if name != (_NONE, _NONE)]
    tagged = {repo for repo, _ in names}
    # A pulled digest without a tag is a name too.
    names += [(repo, _NONE) for repo in by_repo if repo not in tagged and repo != _NONE]
    size = human_size(item["Size"], 3)
    for repo, tag in names or [(_NONE, _NONE)]:
        yield {
            "Repository": repo,
            "Tag": tag,
            "Digest": by_repo.get(repo) or _NONE,
            "ID": item["Id"] if whole else item["Id"].removeprefix("sha256:")[:12],
            "CreatedSince": ago(now - item["Created"]) if item["Created"] > 0 else "N/A",
            "CreatedAt": local_time(item["Created"]),
            "Size": size,
            "VirtualSize": size,
            "Containers": "N/A" if item.get("Containers", -1) < 0 else str(item["Containers"]),
            "SharedSize": "N/A",
            "UniqueSize": "N/A",
        }


def _tag(console: Console, args: Args) -> int:
    images.tag(console.client, *args.rest)
    return 0


def _rmi(console: Console, args: Args) -> int:
    force = args.on("force")

    def remove(ref: str) -> str:
        done = images.remove(console.client, ref, force=force, prune=not args.on("no-prune"))
        return "\n".join(f"{verb}: {name}" for item in done for verb, name in item.items())

    return console.each(args.rest, remove, missing_ok=force)


def _history(console: Console, args: Args) -> int:
    whole = args.on("no-trunc")
    human = args.on("human", True)
    now = time.time()
    rows = []
    for item in images.history(console.client, args.rest[0]):
        created = item["Created"]
        by = item.get("CreatedBy", "").replace("\t", " ")
        identity = item["Id"] if whole else item["Id"].removeprefix("sha256:")[:12]
        rows.append(
            {
                "ID": "<missing>" if item["Id"] == "<missing>" else identity,
                "CreatedSince": ago(now - created) if human else local_time(created),
                "CreatedAt": local_time(created),
                "CreatedBy": by if whole or len(by) <= 45 else by[:44] + "…",
                "Size": human_size(item["Size"], 3) if human else str(item["Size"]),
                "Comment": item.get("Comment", ""),
            }
        )
    form = args.text("format")
    if args.on("quiet") and not form:
        for row in rows:
            console.out(row["ID"])
        return 0
    columns = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
    show_rows(console, rows, _HISTORY_HEADERS, columns, form)
    return 0


def _prune(console: Console, args: Args) -> int:
    unused = args.on("all")
    what = "all images without at least one container associated to them"
    if not console.agrees(args, f"This will remove {what if unused else 'all dangling images'}."):
        return 1
    filters = parse_filters(args.many("filter"))
    filters["dangling"] = ["false" if unused else "true"]
    done = images.prune(console.client, filters)
    deleted = [
        f"{verb.lower()}: {name}"
        for item in done.get("ImagesDeleted") or []
        for verb, name in item.items()
    ]
    return console.report_pruned("Deleted Images", deleted, done.get("SpaceReclaimed") or 0)


_QUIET = Flag("quiet", "q", BOOL, "Only show image IDs")
_NO_TRUNC = Flag("no-trunc", "", BOOL, "Don't truncate output")
_FORMAT = Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template")

COMMANDS = {
    "images": Command(
        "images",
        "[OPTIONS] [REPOSITORY[:TAG]]",
        "List images",
        _images,
        (
            Flag("all", "a", BOOL, "Show all images (default hides intermediate images)"),
            Flag("digests", "", BOOL, "Show digests"),
            Flag("filter", "f", LIST, "Filter output based on conditions provided"),
            _FORMAT,
            _NO_TRUNC,
            _QUIET,
        ),
        0,
        1,
    ),
    "tag": Command(
        "tag",
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
        _tag,
        (),
        2,
        2,
    ),
    "rmi": Command(
        "rmi",
        "[OPTIONS] IMAGE [IMAGE...]",
        "Remove one or more images",
        _rmi,
        (
            Flag("force", "f", BOOL, "Force removal of the image"),
            Flag("no-prune", "", BOOL, "Do not delete untagged parents"),
        ),
        1,
        None,
    ),
    "history": Command(
        "history",
        "[OPTIONS] IMAGE",
        "Show the history of an image",
        _history,
        (
            _FORMAT,
            Flag("human", "H", BOOL, "Print sizes and dates in human readable format"),
            _NO_TRUNC,
            _QUIET,
        ),
        1,
        1,
    ),
    "image prune": Command(
        "image prune",
        "[OPTIONS]",
        "Remove unused images",
        _prune,
        (
            Flag("all", "a", BOOL, "Remove all unused images, not just dangling ones"),
            Flag("filter", "", LIST, 'Provide filter values (e.g. "until=<timestamp>")'),
            Flag("force", "f", BOOL, "Do not prompt for confirmation"),
        ),
    ),
}
