"""``RUN``: one process over the stage's files, without a container object."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from threading import Event
from typing import Any

from sampan.aio import shielded
from sampan.build.contract import BuildFailed
from sampan.build.dockerfile.instructions import Run
from sampan.build.dockerfile.source import Heredoc
from sampan.build.job import Job
from sampan.build.layer import make_layer
from sampan.build.mounts import RunMount, key_of, materialise
from sampan.build.plan import PROXY_ARGS
from sampan.build.sandboxes import BuildSandbox
from sampan.build.scoped import resolve
from sampan.build.screen import Channel
from sampan.build.state import StageState, digest
from sampan.runtime.contract import AttachStream, BundleSpec, CommandNotExecutable, CommandNotFound
from sampan.runtime.users import home_of
from sampan.store.records import HostConfig, MountPoint, Resources

DRAIN_DEADLINE_S = 2.0
"""After the end of the process its last output is in the pipe; more than this is not waited for."""
SCRIPT_DIR = "/dev/pipes"
"""Where a ``RUN <<EOF`` script with a #! line appears: on the run's own tmpfs, leaving no trace."""
_MOUNT_POINTS = (
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
    "/etc",
    "/proc",
    "/sys",
    "/dev",
)
"""The runtime makes those that an image lacks; they are no part of the layer."""


def run_args(state: StageState, step: Run) -> dict[str, str]:
    """The build arguments a step sees in its environment and that its key depends on."""
    env = state.env
    return {
        name: value
        for name, value in sorted(state.args.items())
        if (name not in env or name in state.late_args) and name not in PROXY_ARGS
    }


def command_of(state: StageState, step: Run) -> tuple[str, ...]:
    if step.script is not None and step.script.content.startswith("#!"):
        return (_script_path(step.script),)
    return (*state.shell, *step.command.args) if step.command.shell else step.command.args


def _script_path(script: Heredoc) -> str:
    return f"{SCRIPT_DIR}/{script.name.replace('/', '_')}"


def run_key(state: StageState, step: Run, run_mounts: tuple[RunMount, ...]) -> str:
    args = [f"{name}={value}" for name, value in run_args(state, step).items()]
    script = step.script.content if step.script else ""
    mounts = key_of(run_mounts)
    return digest(
        state.key, "RUN", step.network, mounts, *args, "", *command_of(state, step), "", script
    )


def created_by(state: StageState, step: Run) -> str:
    """As Docker writes history: ``|1 VERSION=2 /bin/sh -c make``."""
    args = [f"{name}={value}" for name, value in run_args(state, step).items()]
    count = [f"|{len(args)}"] if args else []
    return " ".join((*count, *args, *command_of(state, step)))


async def run_step(
    job: Job, state: StageState, step: Run, key: str, run_mounts: tuple[RunMount, ...], out: Channel
) -> StageState:
    """Execute it and commit what it wrote.

    Raises:
        BuildFailed: a non-zero exit code, or the command could not be started.
    """

    async def write(_: str, root: str) -> bool:
        run_id = secrets.token_hex(32)
        out.text(f" ---> Running in {run_id[:12]}\n")
        async with job.sandboxes.borrow(step.network) as place:

            def ready(_: Event) -> tuple[list[str], BundleSpec]:
                points = materialise(job, run_mounts, place.etc_dir / run_id[:12])
                spec = _bundle(job, state, step, run_id, root, place, points)
                return _absent(root, [point.target for point in points]), spec

            absent, spec = await job.in_thread(ready)
            await _execute(job, spec, out)
        await job.in_thread(lambda _: _tidy(root, absent))
        out.text(f" ---> Removed intermediate container {run_id[:12]}\n")
        return True

    return await make_layer(job, state, [key], write, created_by=created_by(state, step))


async def _execute(job: Job, spec: BundleSpec, out: Channel) -> None:
    runs = job.parts.runs
    shown = " ".join(spec.args)
    async with AsyncExitStack() as undo:

        async def delete() -> None:
            await shielded(runs.delete(spec.id))

        undo.push_async_callback(delete)
        try:
            await runs.create(spec, runtime=job.parts.config.default_runtime)
            stream = await runs.attach(spec.id)
            undo.push_async_callback(stream.close)
            # Listen before the start: the first byte must not be missed.
            pump = job.later.spawn(_pump(stream, out), name="build/output")
            undo.callback(pump.cancel)
            await runs.start(spec.id)
        except (CommandNotFound, CommandNotExecutable) as error:
            raise BuildFailed(
                f"The command '{shown}' returned a non-zero code: {error.exit_code}: {error}",
                error.exit_code,
            ) from None
        status = await runs.wait(spec.id)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pump), DRAIN_DEADLINE_S)
        if status.exit_code == 0:
            # The process is gone and nobody looks at the rest: clear it up beside what follows.
            undo.pop_all()
            pump.cancel()
            job.afterwards(_clear(stream, delete()), name="build/clear")
            return
    killed = " (out of memory: give the build more with --memory)" if status.oom_killed else ""
    raise BuildFailed(
        f"The command '{shown}' returned a non-zero code: {status.exit_code}{killed}",
        status.exit_code,
    )


async def _pump(stream: AttachStream, out: Channel) -> None:
    sink = out.decoder()
    async for name, chunk in stream.output():
        sink(name, chunk)


async def _clear(stream: AttachStream, delete: Coroutine[Any, Any, None]) -> None:
    await stream.close()
    await delete


def _bundle(
    job: Job,
    state: StageState,
    step: Run,
    run_id: str,
    root: str,
    place: BuildSandbox,
    mounts: tuple[MountPoint, ...],
) -> BundleSpec:
    """Blocking: reads the image's accounts."""
    config, request = job.parts.config, job.request
    env = {
        "HOSTNAME": place.hostname,
        "HOME": home_of(Path(root), state.config.user),
        **{n: v for n, v in request.build_args.items() if n in PROXY_ARGS and v is not None},
        **{n: v for n, v in state.args.items() if n in PROXY_ARGS},
        **state.env,
        **run_args(state, step),
    }
    if step.script is not None and step.script.content.startswith("#!"):
        script = place.etc_dir / "script"
        script.write_text(step.script.content)
        script.chmod(0o755)
        target = _script_path(step.script)
        shown = MountPoint(type="bind", source=str(script), target=target, read_write=False)
        mounts = (*mounts, shown)
    return BundleSpec(
        id=run_id,
        rootfs=Path(root),
        args=command_of(state, step),
        env=tuple(f"{name}={value}" for name, value in env.items()),
        user=state.config.user,
        working_dir=state.config.working_dir or "/",
        hostname=place.hostname,
        domainname="",
        tty=False,
        open_stdin=False,
        stop_signal=9,
        labels={},
        host=HostConfig(
            network_mode=place.mode,
            extra_hosts=request.extra_hosts,
            shm_size=request.shm_size,
            resources=Resources(memory=request.memory, ulimits=request.ulimits),
        ),
        mounts=mounts,
        etc_files=place.etc_files,
        netns=place.netns,
        log_path=None,
        default_shm_bytes=config.default_shm_bytes,
        default_ulimits=config.default_ulimits,
    )


def _absent(root: str, targets: list[str]) -> list[str]:
    """Mount points that the image lacks, as host paths, children first."""
    places = [resolve(root, path) for path in _MOUNT_POINTS]
    for target in targets:
        place = resolve(root, target)
        while place != root and place not in places:
            places.append(place)
            place = os.path.dirname(place)
    places.sort(key=len, reverse=True)
    return [path for path in places if not os.path.lexists(path)]


def _tidy(root: str, absent: list[str]) -> None:
    """Take away what only the runtime made; what the step itself put there stays."""
    for path in absent:
        with contextlib.suppress(OSError):
            if os.path.isdir(path) and not os.path.islink(path):
                os.rmdir(path)
            elif os.lstat(path).st_size == 0:
                os.unlink(path)
