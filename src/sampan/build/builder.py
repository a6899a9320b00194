"""The builder's front: a request in, an image out; and the cache's pruning.

Dockerfile ──parse──> instructions ──plan──> needed stages ──a task each──> states ──> image
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence

from sampan.aio import Clock, in_thread
from sampan.build.cache import Cache
from sampan.build.contract import BuildOutput, BuildRequest, DockerfileError, anything
from sampan.build.dockerfile import parse
from sampan.build.job import BuildParts, Job
from sampan.build.mounts import forget_caches
from sampan.build.plan import BuildPlan, PlannedStage, make_plan
from sampan.build.prune import prune
from sampan.build.sandboxes import Sandboxes
from sampan.build.scoped import resolve
from sampan.build.screen import Screen
from sampan.build.stage import StageRun, short
from sampan.build.state import StageState
from sampan.build.tree import Tree
from sampan.config import DaemonConfig
from sampan.errors import Unsupported
from sampan.ignore import Ignore
from sampan.image.contract import Images, ImageUser, Snapshots
from sampan.image.reference import parse as parse_reference
from sampan.network.contract import Networks
from sampan.runtime.contract import Runs
from sampan.store.contract import Store
from sampan.store.records import BuildCacheEntry


class LocalBuilder:
    """``Builder`` on this host's parts. Builds run side by side."""

    def __init__(self, parts: BuildParts) -> None:
        self._parts = parts
        self._jobs: set[Job] = set()

    def image_user(self, image_id: str) -> ImageUser | None:
        """See the contract."""
        standing = any(image_id in job.standing_on for job in self._jobs)
        return ImageUser("", running=True) if standing else None

    async def build(self, request: BuildRequest, emit: Callable[[BuildOutput], None]) -> str:
        """See the contract."""
        if request.squash:
            raise Unsupported("squash is not supported: put what belongs together into one RUN")
        for tag in request.tags:
            parse_reference(tag)  # a bad name is said before the work, not after it
        plan, context = await in_thread(_read, request)
        cache = Cache(self._parts.store, self._parts.clock, enabled=not request.no_cache)
        order = [stage.index for stage in plan.stages]
        total = plan.total + bool(request.labels)
        for number, arg in enumerate(plan.preamble, 1):
            emit(BuildOutput(text=f"Step {number}/{total} : {arg.text}\n"))
        job = Job(
            parts=self._parts,
            request=request,
            plan=plan,
            context=context,
            screen=Screen(emit, order),
            cache=cache,
            sandboxes=Sandboxes(
                self._parts.config,
                self._parts.store,
                self._parts.networks,
                mode=request.network_mode,
                extra_hosts=request.extra_hosts,
            ),
            total=total,
        )
        self._jobs.add(job)
        try:
            async with job:
                await _run_stages(job)
            image_id = job.states[plan.target.index].result().image_id
            self._name(job, image_id, emit)
        finally:
            self._jobs.discard(job)
        emit(BuildOutput(image_id=image_id))
        return image_id

    def _name(self, job: Job, image_id: str, emit: Callable[[BuildOutput], None]) -> None:
        """The last step: everything the names stand on is durable by now."""
        plan, cache = job.plan, job.cache
        cache.touch()
        if plan.unused_args:
            names = " ".join(plan.unused_args)
            emit(
                BuildOutput(text=f"[Warning] One or more build-args [{names}] were not consumed\n")
            )
        emit(BuildOutput(text=f"Successfully built {short(image_id)}\n"))
        for tag in job.request.tags:
            self._parts.images.tag(image_id, tag)
            emit(BuildOutput(text=f"Successfully tagged {parse_reference(tag).familiar}\n"))

    def cache(self) -> Sequence[BuildCacheEntry]:
        return tuple(self._parts.store.build_cache.values())

    async def prune(
        self, matches: Callable[[BuildCacheEntry], bool] = anything, *, all: bool = False
    ) -> tuple[list[str], int]:
        """See the contract."""
        if all and matches is anything:
            await in_thread(forget_caches, self._parts.config.paths.root)
        return await prune(
            self._parts.store, self._parts.images, matches, everything=all, in_use=self.image_user
        )


@contextlib.asynccontextmanager
async def open_builder(
    config: DaemonConfig,
    *,
    store: Store,
    images: Images,
    snapshots: Snapshots,
    runs: Runs,
    networks: Networks,
    clock: Clock,
) -> AsyncIterator[LocalBuilder]:
    """The builder. It keeps nothing of its own open between builds."""
    yield LocalBuilder(
        BuildParts(
            config=config,
            store=store,
            images=images,
            snapshots=snapshots,
            runs=runs,
            networks=networks,
            clock=clock,
        )
    )


def _read(request: BuildRequest) -> tuple[BuildPlan, Tree]:
    """Dockerfile and .dockerignore, both read even if they are themselves left out. Blocking."""
    root = os.path.realpath(request.context)
    path = resolve(root, request.dockerfile)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise DockerfileError(
            f"Cannot locate specified Dockerfile: {request.dockerfile}: it must lie in the build "
            "context; name another one with -f"
        ) from None
    plan = make_plan(
        parse(text, request.dockerfile),
        build_args=request.build_args,
        target=request.target,
        platform=request.platform,
    )
    lines: list[str] = []
    # A file of its own for this Dockerfile goes before the common one, as with BuildKit.
    for name in (f"{request.dockerfile}.dockerignore", ".dockerignore"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
            with open(resolve(root, name), encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
            break
    return plan, Tree(root, "build context", Ignore(lines))


async def _run_stages(job: Job) -> None:
    """Every needed stage is a task; one that needs another waits for its state."""

    async def run(stage: PlannedStage) -> StageState:
        try:
            state = await StageRun(job, stage).run()
        except Exception:
            job.screen.fail(stage.index)
            raise
        job.screen.close(stage.index)
        job.states[stage.index].set_result(state)
        return state

    try:
        async with asyncio.TaskGroup() as group:
            for stage in job.plan.stages:
                group.create_task(run(stage), name=f"build/stage {stage.index}")
    except BaseExceptionGroup as failed:
        # The first to fail is what the user must hear; the others were cancelled for it.
        raise _first(failed) from None


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
