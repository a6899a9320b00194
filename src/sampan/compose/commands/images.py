"""``images``: what the project's containers were made from."""

from __future__ import annotations

import json
import sys
from functools import partial

from sampan.client import images as image_api
from sampan.compose.commands.app import App
from sampan.compose.commands.table import print_lines, render, size
from sampan.compose.run.observe import at_once


def images(app: App) -> int:
    """List the images that the project's containers use."""
    found = app.containers(oneoff=True)
    ids = {c.image_id for c in found}
    details = at_once({i: partial(image_api.inspect, app.client, i) for i in ids})
    if app.args.quiet:
        print_lines(sorted(i.removeprefix("sha256:") for i in ids))
        return 0
    rows = []
    for c in found:
        repo, tag = image_api.split_tag(c.image)
        amount = int(details[c.image_id].get("Size") or 0)
        rows.append((c.name, repo, tag or "latest", c.image_id[7:19], amount))
    if app.args.format == "json":
        keys = ("ContainerName", "Repository", "Tag", "ID", "Size")
        print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
    else:
        header = ("CONTAINER", "REPOSITORY", "TAG", "IMAGE ID", "SIZE")
        sys.stdout.write(render(header, [(*row[:4], size(row[4])) for row in rows]))
    return 0
