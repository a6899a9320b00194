"""One stage from ``FROM`` to its last step, in Docker's words.

A step is looked up before it is done; from the first one that is not in the cache on, everything
is done. Metadata costs microseconds and is computed anew each time: what is shown of it waits for
the next step with a layer, because only that one's cache row tells whether "Using cache" is true,
and brings the config (with its old timestamps) back that leads to the very same image id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from sampan.build import metadata
from sampan.build.base import base_image
from sampan.build.contract import DockerfileError
from sampan.build.copier import Copier
from sampan.build.copy_step import copy_key, copy_step, select, wanted
from sampan.build.dockerfile import Instruction, onbuild_steps
from sampan.build.dockerfile.instructions import Copy, Run, Workdir
from sampan.build.job import Job
from sampan.build.layer import make_layer
from sampan.build.metadata import Scope
from sampan.build.mounts import look
from sampan.build.plan import PlannedStage
from sampan.build.run_step import run_key, run_step
from sampan.build.state import (
    StageState,
    digest,
    from_image,
    from_scratch,
    provisional_id,
    render,
    with_history,
)
from sampan.build.tree import Tree
from sampan.image.config import chain_id
from sampan.store.records import Image


def short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]


class StageRun:
    def __init__(self, job: Job, stage: PlannedStage) -> None:
        self._job, self._stage = job, stage
        self._out = job.screen.channel(stage.index)
        self._scope = Scope(
            name=job.plan.dockerfile.name,
            escape=job.plan.dockerfile.escape,
            build_args=job.request.build_args,
            global_args=job.plan.global_args,
        )
        self._pending: list[tuple[str, str]] = []
        self._cached = True
        """Every step so far came from the cache."""

    async def run(self) -> StageState:
        """Raises DockerfileError, BuildFailed, NoSuchImage ..."""
        job, stage = self._job, self._stage
        self._say(stage.first_step, stage.text)
        state = await self._base()
        self._out.text(f" ---> {short(state.image_id)}\n" if state.image_id else " --->\n")
        if triggers := state.config.on_build:
            state = replace(state, config=replace(state.config, on_build=None), fresh=True)
            steps = onbuild_steps(triggers, self._scope.escape, self._scope.name)
            many = "s" if len(steps) > 1 else ""
            self._out.text(f"# Executing {len(steps)} build trigger{many}\n")
            for step in steps:
                state = await self._step(state, step, f" ---> Running trigger: {step.text}\n")
        for number, step in enumerate(stage.steps, stage.first_step + 1):
            state = await self._step(state, step, f"Step {number}/{job.total} : {step.text}\n")
        if stage is job.plan.target:
            return await self._finish(state)
        self._flush(self._cached)
        return state

    # -- the base

    async def _base(self) -> StageState:
        job, stage = self._job, self._stage
        if stage.base is not None:
            below = await job.states[stage.base]
            return replace(below, args={}, late_args=frozenset(), cmd_set=False)
        if stage.image == "scratch":
            wanted_platform = stage.platform or job.plan.global_args["TARGETPLATFORM"]
            os_name, arch, variant = (*wanted_platform.split("/"), "", "")[:3]
            return from_scratch(os_name, arch, variant)
        image = await base_image(
            job, stage.image, stage.platform or job.request.platform, self._out
        )
        return from_image(image, job.parts.images.config(image))

    # -- steps

    async def _step(self, state: StageState, step: Instruction, title: str) -> StageState:
        match step:
            case Run():
                return await self._run(state, step, title)
            case Copy():
                return await self._copy(state, step, title)
            case Workdir():
                return await self._workdir(state, step, title)
            case _:
                now = self._job.parts.clock.now()
                state = metadata.apply(state, step, self._scope, now)
                self._pending.append((title, provisional_id(state.config)))
                return state

    async def _run(self, state: StageState, step: Run, title: str) -> StageState:
        job = self._job
        run_mounts = await look(job, state, step, self._scope, self._tree) if step.mounts else ()
        key = run_key(state, step, run_mounts)
        return await self._layered(
            state, title, [key], lambda: run_step(job, state, step, key, run_mounts, self._out)
        )

    async def _layered(
        self,
        state: StageState,
        title: str,
        keys: Sequence[str],
        work: Callable[[], Awaitable[StageState]],
    ) -> StageState:
        """A step that makes a layer: from the cache under the first key that is known there."""
        for key in keys:
            if (image := self._job.cache.find(key)) is not None:
                return self._hit(state, title, image)
        self._miss(title)
        state = await work()
        self._job.standing_on.add(state.image_id)
        self._out.text(f" ---> {short(state.image_id)}\n")
        return state

    def _hit(self, state: StageState, title: str, image: Image) -> StageState:
        self._flush(True)
        self._job.standing_on.add(image.id)
        self._out.text(f"{title} ---> Using cache\n ---> {short(image.id)}\n")
        return state.on(image, self._job.parts.images.config(image))

    def _miss(self, title: str) -> None:
        self._flush(False)
        self._cached = False
        if self._runs_later():
            self._job.sandboxes.warm()
        self._out.text(title)

    async def _copy(self, state: StageState, step: Copy, title: str) -> StageState:
        job, scope = self._job, self._scope
        want = wanted(state, step, scope)
        if not step.from_:
            selection = await select(job, job.context, want, step, scope)
            key = copy_key(state, want, selection.digest)
            return await self._layered(
                state,
                title,
                [key],
                lambda: copy_step(job, state, step, want, job.context, selection, [key], scope),
            )
        # The same source stack gives the same files: no need to mount it to find that out.
        chain, what = await self._source(step.from_)
        quick = copy_key(state, want, f"stack {chain}")
        if (image := job.cache.find(quick)) is not None:
            return self._hit(state, title, image)
        tree = await job.source(chain, what)
        selection = await select(job, tree, want, step, scope)
        key = copy_key(state, want, selection.digest)
        return await self._layered(
            state,
            title,
            [key],
            lambda: copy_step(job, state, step, want, tree, selection, [key, quick], scope),
        )

    async def _source(self, ref: str) -> tuple[str, str]:
        """(chain ID, what to call it) of what ``from`` names."""
        stage = self._job.plan.stage(ref)
        if stage is not None and stage.index < self._stage.index:
            state = await self._job.states[stage.index]
            return state.chain_id, f"stage {ref}"
        image = await base_image(self._job, ref, self._job.request.platform, self._out)
        self._job.standing_on.add(image.id)
        return chain_id(image.layers), f"image {ref}"

    async def _tree(self, ref: str) -> Tree:
        return await self._job.source(*await self._source(ref))

    async def _workdir(self, state: StageState, step: Workdir, title: str) -> StageState:
        job = self._job
        path = metadata.workdir(state, self._scope.expand(step, step.path, state))
        state = replace(state, config=replace(state.config, working_dir=path))
        key = digest(state.key, "WORKDIR", path)

        async def write(_: str, root: str) -> bool:
            try:
                return await job.in_thread(lambda _: Copier(root).make_dirs(path))
            except DockerfileError as error:
                raise self._scope.wrong(step, error) from None

        line = f"/bin/sh -c #(nop) WORKDIR {path}"
        return await self._layered(
            state, title, [key], lambda: make_layer(job, state, [key], write, created_by=line)
        )

    # -- the end

    async def _finish(self, state: StageState) -> StageState:
        """The target's image, with the request's labels."""
        job, labels = self._job, self._job.request.labels
        now = job.parts.clock.now()
        if labels:
            pairs = " ".join(f"{name}={value}" for name, value in sorted(labels.items()))
            config = replace(state.config, labels={**state.config.labels, **labels})
            config = with_history(
                config, created=now, created_by=f"/bin/sh -c #(nop)  LABEL {pairs}"
            )
            state = replace(state, config=config, key=digest(state.key, "LABEL", pairs), fresh=True)
            title = f"Step {job.total}/{job.total} : LABEL {pairs}\n"
            self._pending.append((title, provisional_id(state.config)))
        if not state.fresh:
            self._flush(self._cached)
            if not state.image_id:
                raise DockerfileError(
                    "No image was generated. Is your Dockerfile empty? Add steps after FROM scratch"
                )
            return state
        key = digest(state.key, "image")
        if (image := job.cache.find(key)) is not None:
            self._flush(True)
            return state.on(image, job.parts.images.config(image))
        self._flush(False)
        image = await job.parts.images.create(
            config=render(state.config), layers=state.config.diff_ids, parent=state.image_id
        )
        job.cache.put([key], image.id)
        return state.on(image, state.config)

    # -- words

    def _say(self, number: int, text: str) -> None:
        self._out.text(f"Step {number}/{self._job.total} : {text}\n")

    def _flush(self, cached: bool) -> None:
        note = " ---> Using cache\n" if cached else ""
        for title, image_id in self._pending:
            self._out.text(f"{title}{note} ---> {short(image_id)}\n")
        self._pending.clear()

    def _runs_later(self) -> bool:
        return any(isinstance(step, Run) for step in self._stage.steps)
