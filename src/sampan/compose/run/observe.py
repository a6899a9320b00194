"""What is there: one list of containers, and the networks, volumes and images that matter."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from sampan.client import Client, NotFound, containers, images, networks, volumes
from sampan.compose.model.create_request import PARTS_LABEL, PREFIX
from sampan.compose.model.project import Project
from sampan.compose.plan.observed import Observed, ObservedContainer

T = TypeVar("T")


def observe(client: Client, project: Project, services: tuple[str, ...] = ()) -> Observed:
    """Look at the engine: all requests at once, images only of ``services``."""
    references = sorted({project.image_of(project.services[name]) for name in services})
    mine = {"label": [f"{PREFIX}project={project.name}"]}
    questions: dict[str, Callable[[], Any]] = {
        "containers": lambda: containers.list_(client, all=True, filters=mine),
    }
    wanted = [n.name for n in project.networks.values()]
    if wanted:
        # By name and not by label: a network that someone else made must be seen as well.
        questions["networks"] = lambda: networks.list_(client, {"name": wanted})
    if project.volumes:
        names = [v.name for v in project.volumes.values()]
        questions["volumes"] = lambda: volumes.list_(client, {"name": names})
    for reference in references:
        questions[f"image {reference}"] = lambda ref=reference: _image_id(client, ref)  # type: ignore[misc]
    answers = at_once(questions)
    found_networks = {n["Name"]: n for n in answers.get("networks", ())}
    found_volumes = {v["Name"]: v for v in answers.get("volumes", ())}
    return Observed(
        containers=tuple(seen(item) for item in answers["containers"]),
        networks={name: n.get("Labels") or {} for name, n in found_networks.items()},
        network_ids={name: n["Id"] for name, n in found_networks.items()},
        volumes={name: v.get("Labels") or {} for name, v in found_volumes.items()},
        images={ref: i for ref in references if (i := answers[f"image {ref}"])},
    )


def list_project(client: Client, name: str, *, all: bool = True) -> tuple[ObservedContainer, ...]:
    """Only the containers of the project ``name``."""
    mine = {"label": [f"{PREFIX}project={name}"]}
    return tuple(seen(item) for item in containers.list_(client, all=all, filters=mine))


def _image_id(client: Client, reference: str) -> str:
    try:
        return str(images.inspect(client, reference)["Id"])
    except NotFound:
        return ""


def seen(item: Mapping[str, Any]) -> ObservedContainer:
    """One entry of the engine's container list."""
    labels: Mapping[str, str] = item.get("Labels") or {}
    number = labels.get(PREFIX + "container-number", "1")
    attached = (item.get("NetworkSettings") or {}).get("Networks") or {}
    parts = labels.get(PARTS_LABEL, "")
    depends = labels.get(PREFIX + "depends_on", "")
    return ObservedContainer(
        id=item["Id"],
        name=min(item["Names"] or [item["Id"][:12]], key=lambda n: n.count("/")).lstrip("/"),
        service=labels.get(PREFIX + "service", ""),
        number=int(number) if number.isdecimal() else 1,
        oneoff=labels.get(PREFIX + "oneoff", "").lower() == "true",
        state=item.get("State", ""),
        status=item.get("Status", ""),
        image=item.get("Image", ""),
        image_id=item.get("ImageID", ""),
        config_hash=labels.get(PREFIX + "config-hash", ""),
        parts=dict(p.split("=", 1) for p in parts.split(",") if "=" in p),
        made_by=labels.get(PREFIX + "version", ""),
        networks={name: (e or {}).get("NetworkID", "") for name, e in attached.items()},
        anonymous={
            m["Destination"]: m["Name"]
            for m in item.get("Mounts") or ()
            if m.get("Type") == "volume" and re.fullmatch(r"[0-9a-f]{64}", m.get("Name") or "")
        },
        depends_on=tuple(d.partition(":")[0] for d in depends.split(",") if d),
        restarts_with=tuple(
            d.partition(":")[0] for d in depends.split(",") if d.lower().endswith(":true")
        ),
        command=item.get("Command", ""),
        created=int(item.get("Created") or 0),
        ports=tuple(item.get("Ports") or ()),
        labels=labels,
    )


def at_once(questions: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Ask several things in threads; the first failure is raised when all have come back."""
    if len(questions) == 1:
        return {key: ask() for key, ask in questions.items()}
    answers: dict[str, T] = {}
    failures: list[BaseException] = []

    def one(key: str, ask: Callable[[], T]) -> None:
        try:
            answers[key] = ask()
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            failures.append(error)

    threads = [threading.Thread(target=one, args=item) for item in questions.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return answers
