"""``build``, ``pull`` and ``images``: what containers are made from."""

from __future__ import annotations

import json
import sys
from functools import partial

from sampan.client import images as image_api
from sampan.compose.commands.app import App, one_of
from sampan.compose.commands.table import print_lines, render
from sampan.compose.errors import StepFailed
from sampan.compose.model.project import chosen
from sampan.compose.plan.steps import BuildImage, Plan, PullImage
from sampan.compose.run.observe import at_once
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag
from sampan.units import human_size


def build(app: App, args: Args) -> int:
    """Build the images of services that have a ``build``."""
    app.progress.quiet_images = args.on("quiet")
    project = app.load(args.rest)
    plan = Plan()
    for name in chosen(project, tuple(args.rest), deps=args.on("with-dependencies")):
        service = project.services[name]
        if service.build is None:
            continue
        reference = project.image_of(service)
        action = BuildImage(
            service,
            reference,
            args.on("no-cache"),
            args.on("pull"),
            tuple(args.many("build-arg")),
        )
        plan.add("build", f"image {reference}", "asked for", action)
    app.carry_out(plan, project)
    return 0


def pull(app: App, args: Args) -> int:
    """Pull the images of services that are not built."""
    app.progress.quiet_images = args.on("quiet")
    project = app.load(args.rest)
    plan = Plan()
    references: set[str] = set()
    for name in chosen(project, tuple(args.rest), deps=args.on("include-deps")):
        service = project.services[name]
        if service.build is None and service.image not in references:
            references.add(service.image)
            action = PullImage(service.image, service.platform)
            plan.add("pull", f"image {service.image}", "asked for", action)
    try:
        app.carry_out(plan, project)
    except StepFailed:
        if not args.on("ignore-pull-failures"):
            raise
    return 0


def images(app: App, args: Args) -> int:
    """List the images that the project's containers use."""
    found = app.containers(args.rest, oneoff=True)
    ids = {c.image_id for c in found}
    details = at_once({i: partial(image_api.inspect, app.client, i) for i in ids})
    if args.on("quiet"):
        print_lines(sorted(i.removeprefix("sha256:") for i in ids))
        return 0
    rows = []
    for c in found:
        repo, tag = image_api.split_tag(c.image)
        amount = int(details[c.image_id].get("Size") or 0)
        rows.append((c.name, repo, tag or "latest", c.image_id[7:19], amount))
    if one_of(args, "format", ("table", "json")) == "json":
        keys = ("ContainerName", "Repository", "Tag", "ID", "Size")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        header = ("CONTAINER", "REPOSITORY", "TAG", "IMAGE ID", "SIZE")
        sys.stdout.write(render(header, [(*row[:4], human_size(row[4], 3)) for row in rows]))
    return 0


_SERVICES = "[OPTIONS] [SERVICE...]"
COMMANDS = {
    "build": Command(
        "compose build",
        _SERVICES,
        "Build or rebuild services",
        build,
        (
            Flag("build-arg", "", LIST, "Set build-time variables for services"),
            Flag("no-cache", "", BOOL, "Do not use cache when building the image"),
            Flag("pull", "", BOOL, "Always attempt to pull a newer version of the image"),
            Flag("quiet", "q", BOOL, "Suppress the build output"),
            Flag("with-dependencies", "", BOOL, "Also build dependencies"),
        ),
        0,
        None,
    ),
    "pull": Command(
        "compose pull",
        _SERVICES,
        "Pull service images",
        pull,
        (
            Flag("ignore-pull-failures", "", BOOL, "Go on when an image cannot be pulled"),
            Flag("include-deps", "", BOOL, "Also pull services declared as dependencies"),
            Flag("quiet", "q", BOOL, "Pull without printing progress information"),
        ),
        0,
        None,
    ),
    "images": Command(
        "compose images",
        _SERVICES,
        "List images used by the created containers",
        images,
        (
            Flag("format", "", TEXT, 'Format the output ("table", "json")'),
            Flag("quiet", "q", BOOL, "Only display IDs"),
        ),
        0,
        None,
    ),
}
