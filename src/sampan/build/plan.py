"""Which stages are needed, on what each stands, and which step has which number.

    Dockerfile ──> stages ──> the closure of what the target needs ──> Plan

Pure. What a stage needs is its base and every ``from``; a stage nobody needs is not built.
"""

from __future__ import annotations

import difflib
import platform as host
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sampan.build.contract import DockerfileError
from sampan.build.dockerfile import BadSubstitution, Dockerfile, Instruction, expand
from sampan.build.dockerfile.instructions import Arg, Copy, Run

PROXY_ARGS = frozenset(
    name
    for upper in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (upper, upper.lower())
)
"""Usable without ``ARG``, and no part of cache keys or history: they may hold passwords."""

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True)
class PlannedStage:
    index: int
    name: str
    image: str
    """What ``FROM`` names, variables replaced."""
    base: int | None
    """The earlier stage that ``FROM`` names."""
    platform: str
    text: str
    line: int
    first_step: int
    """Number of the ``FROM``."""
    steps: tuple[Instruction, ...]
    needs: frozenset[int]


@dataclass(frozen=True, slots=True)
class BuildPlan:
    dockerfile: Dockerfile
    preamble: tuple[Arg, ...]
    global_args: dict[str, str]
    stages: tuple[PlannedStage, ...]
    """Only the needed ones, in the file's order; the last is the target."""
    total: int
    unused_args: tuple[str, ...]

    @property
    def target(self) -> PlannedStage:
        return self.stages[-1]

    def stage(self, ref: str) -> PlannedStage | None:
        """By name or index, among the needed ones."""
        for stage in self.stages:
            if stage.name == ref.lower() or str(stage.index) == ref:
                return stage
        return None


def make_plan(
    dockerfile: Dockerfile,
    *,
    build_args: Mapping[str, str | None],
    target: str = "",
    platform: str = "",
) -> BuildPlan:
    """Raises DockerfileError: an unknown stage, a bad variable, an empty image name."""
    automatic = platform_args(platform)
    global_args = _global_args(dockerfile, build_args, automatic)
    staged = _stages(dockerfile, {**automatic, **global_args})
    wanted = _target(staged, target, dockerfile.name)
    needed: set[int] = set()
    queue = [wanted]
    while queue:
        if (index := queue.pop()) not in needed:
            needed.add(index)
            queue.extend(staged[index].needs)
    number = len(dockerfile.args) + 1
    chosen: list[PlannedStage] = []
    for stage in staged:
        if stage.index in needed:
            chosen.append(_numbered(stage, number))
            number += 1 + len(stage.steps)
    declared = {name for arg in _all_args(dockerfile) for name, _ in arg.pairs}
    unused = sorted(set(build_args) - declared - PROXY_ARGS)
    return BuildPlan(
        dockerfile,
        dockerfile.args,
        {**automatic, **global_args},
        tuple(chosen),
        number - 1,
        tuple(unused),
    )


def platform_args(platform: str) -> dict[str, str]:
    """``TARGETPLATFORM`` and its kin, for ``platform`` ("": this machine's)."""
    machine = host.machine()
    ours = f"linux/{_MACHINES.get(machine, machine)}"
    args: dict[str, str] = {}
    for prefix, value in (("BUILD", ours), ("TARGET", platform or ours)):
        os_name, arch, variant = (*value.split("/"), "", "")[:3]
        args[f"{prefix}PLATFORM"] = value
        args[f"{prefix}OS"] = os_name
        args[f"{prefix}ARCH"] = arch
        args[f"{prefix}VARIANT"] = variant
    return args


def _global_args(
    dockerfile: Dockerfile, build_args: Mapping[str, str | None], automatic: Mapping[str, str]
) -> dict[str, str]:
    found: dict[str, str] = {}
    for arg in dockerfile.args:
        for name, default in arg.pairs:
            given = build_args.get(name)
            if given is not None:
                found[name] = given
            elif default is not None:
                found[name] = _expand(default, {**automatic, **found}, dockerfile, arg.line)
    return found


def _stages(dockerfile: Dockerfile, env: Mapping[str, str]) -> list[PlannedStage]:
    staged: list[PlannedStage] = []
    names: dict[str, int] = {}
    for index, stage in enumerate(dockerfile.stages):
        image = _expand(stage.base.image, env, dockerfile, stage.base.line)
        if not image:
            raise DockerfileError(
                f"{dockerfile.name}:{stage.base.line}: base name ({stage.base.image}) should not "
                "be blank: give the variable a default with ARG before FROM, or --build-arg"
            )
        base = names.get(image.lower())
        needs = {base} if base is not None else set()
        for step in stage.steps:
            for ref in _sources(step):
                needs |= _needed(ref, step.line, index, names, dockerfile.name)
        staged.append(
            PlannedStage(
                index=index,
                name=stage.base.alias,
                image=image,
                base=base,
                platform=_expand(stage.base.platform, env, dockerfile, stage.base.line),
                text=stage.base.text,
                line=stage.base.line,
                first_step=0,
                steps=stage.steps,
                needs=frozenset(needs),
            )
        )
        if stage.base.alias:
            if stage.base.alias in names:
                raise DockerfileError(
                    f"{dockerfile.name}:{stage.base.line}: duplicate name {stage.base.alias}: "
                    "every stage needs a name of its own"
                )
            names[stage.base.alias] = index
    return staged


def _sources(step: Instruction) -> list[str]:
    """What a step takes files from, besides the context."""
    if isinstance(step, Copy):
        return [step.from_] if step.from_ else []
    if isinstance(step, Run):
        options = [option for mount in step.mounts for option in mount.split(",")]
        return [o.removeprefix("from=") for o in options if o.startswith("from=")]
    return []


def _needed(ref: str, line: int, index: int, names: Mapping[str, int], name: str) -> set[int]:
    if ref.isdecimal():
        if int(ref) >= index:
            raise DockerfileError(
                f"{name}:{line}: invalid from flag value {ref}: refers to this stage or a later "
                "one; only earlier stages can be copied from"
            )
        return {int(ref)}
    found = names.get(ref.lower())
    return set() if found is None else {found}


def _target(staged: list[PlannedStage], target: str, name: str) -> int:
    if not target:
        return staged[-1].index
    for stage in staged:
        if stage.name == target.lower() or str(stage.index) == target:
            return stage.index
    names = [stage.name for stage in staged if stage.name]
    near = difflib.get_close_matches(target, names, n=1)
    if near:
        hint = f" (did you mean {near[0]}?)"
    else:
        hint = (
            f": its stages are {', '.join(names)}" if names else ": none of its stages has a name"
        )
    raise DockerfileError(f"failed to reach build target {target} in {name}{hint}")


def _numbered(stage: PlannedStage, number: int) -> PlannedStage:
    return PlannedStage(
        stage.index,
        stage.name,
        stage.image,
        stage.base,
        stage.platform,
        stage.text,
        stage.line,
        number,
        stage.steps,
        stage.needs,
    )


def _all_args(dockerfile: Dockerfile) -> Iterable[Arg]:
    yield from dockerfile.args
    for stage in dockerfile.stages:
        for step in stage.steps:
            if isinstance(step, Arg):
                yield step


def _expand(word: str, env: Mapping[str, str], dockerfile: Dockerfile, line: int) -> str:
    try:
        return expand(word, env, escape=dockerfile.escape)
    except BadSubstitution as wrong:
        raise DockerfileError(f"{dockerfile.name}:{line}: {wrong}") from None
