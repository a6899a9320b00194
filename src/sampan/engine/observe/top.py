"""``top``: the host's ``ps``, asked as the user says, cut down to the container's processes."""

from __future__ import annotations

import asyncio
import shlex

from sampan.components import PS
from sampan.engine.container_index import ContainerIndex
from sampan.engine.contract import NotRunning, Process
from sampan.engine.parts import Parts
from sampan.errors import InvalidArgument, Unsupported


async def top(
    parts: Parts, containers: ContainerIndex, ref: str, ps_args: str
) -> tuple[tuple[str, ...], list[Process]]:
    """Raises NoSuchContainer, NotRunning, InvalidArgument (ps says no), Unsupported (no ps)."""
    container = containers.get(ref)
    if not container.running:
        raise NotRunning(container.id)
    try:
        words = shlex.split(ps_args or "-ef")
    except ValueError as error:
        raise InvalidArgument(f"ps_args {ps_args}: {error}") from error
    pids = await parts.runs.pids(container.id)
    try:
        ps = await asyncio.create_subprocess_exec(
            "ps", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError as error:
        raise Unsupported(PS.cure) from error
    output, complaint = await ps.communicate()
    if ps.returncode:
        raise InvalidArgument(f"ps: {complaint.decode(errors='replace').strip()}")
    return select(output.decode(errors="replace"), frozenset(pids))


def select(output: str, pids: frozenset[int]) -> tuple[tuple[str, ...], list[Process]]:
    """Titles and the lines of ``pids``. Raises InvalidArgument: there is no column PID."""
    lines = output.splitlines()
    titles = tuple(lines[0].split()) if lines else ()
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output")
    column = titles.index("PID")
    found = []
    for line in lines[1:]:
        values = line.split(None, len(titles) - 1)
        if len(values) > column and values[column].isdigit() and int(values[column]) in pids:
            found.append(Process(tuple(values)))
    return titles, found
