"""``--change`` of ``docker import`` and ``commit``: Dockerfile instructions for an image config."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from sampan.build.contract import DockerfileError
from sampan.build.dockerfile import parse
from sampan.build.dockerfile.instructions import Arg, Copy, Run, Workdir
from sampan.build.metadata import Scope, apply, workdir
from sampan.build.state import StageState, from_scratch, render
from sampan.image.contract import ImageConfig

_NAME = "--change"


def config_of(changes: Sequence[str], *, now: float) -> dict[str, object]:
    """The ``config`` object of an image that begins with nothing and has these instructions.

    Raises:
        DockerfileError: not an instruction, or one that needs a file system.
    """
    config = replace(from_scratch("linux", "", "").config, env=())
    return cast(dict[str, object], render(changed(config, changes, now=now))["config"])


def changed(config: ImageConfig, changes: Sequence[str], *, now: float) -> ImageConfig:
    """``config`` with these instructions applied; its history stays as it is.

    Raises:
        DockerfileError: not an instruction, or one that needs a file system.
    """
    dockerfile = parse("FROM scratch\n" + "\n".join(changes), _NAME)
    # An ENTRYPOINT alone must not take away the CMD that the container was run with.
    state = StageState(config=config, key="", cmd_set=True)
    scope = Scope(name=_NAME, escape="\\", build_args={}, global_args={})
    for step in (step for stage in dockerfile.stages for step in stage.steps):
        match step:
            case Run() | Copy() | Arg():
                raise DockerfileError(
                    f"{type(step).__name__.upper()} is not allowed in {_NAME}: it only takes "
                    "instructions that change the image's configuration"
                )
            case Workdir():
                path = workdir(state, scope.expand(step, step.path, state))
                state = replace(state, config=replace(state.config, working_dir=path))
            case _:
                state = apply(state, step, scope, now)
    return replace(state.config, history=config.history, created=config.created)
