from __future__ import annotations

import pytest

from sampan.build.contract import DockerfileError
from sampan.build.dockerfile import parse
from sampan.build.plan import BuildPlan, make_plan


def plan(text: str, *, target: str = "", **build_args: str | None) -> BuildPlan:
    return make_plan(parse(text), build_args=build_args, target=target, platform="linux/amd64")


STAGES = """\
FROM a AS base
RUN 1
FROM b AS unused
RUN 2
FROM base AS build
RUN 3
FROM scratch
COPY --from=build /x /x
COPY --from=busybox /y /y
"""


def test_only_needed_stages_are_built_and_numbered_through() -> None:
    made = plan(STAGES)
    assert [(s.index, s.first_step) for s in made.stages] == [(0, 1), (2, 3), (3, 5)]
    assert made.total == 7
    assert made.target.image == "scratch"
    assert made.stages[1].base == 0


def test_target_by_name_and_number() -> None:
    assert [s.index for s in plan(STAGES, target="BUILD").stages] == [0, 2]
    assert [s.index for s in plan(STAGES, target="1").stages] == [1]


def test_unknown_target_suggests() -> None:
    with pytest.raises(
        DockerfileError, match=r"failed to reach build target biuld .*did you mean build\?"
    ):
        plan(STAGES, target="biuld")


def test_from_takes_global_args_and_automatic_ones() -> None:
    text = "ARG V=1\nARG W=$V.2\nFROM --platform=$TARGETPLATFORM x:${W}\n"
    assert plan(text).target.image == "x:1.2"
    assert plan(text, V="3").target.image == "x:3.2"
    assert plan(text, W="4").target.image == "x:4"
    assert plan(text).target.platform == "linux/amd64"


def test_global_args_are_steps_too() -> None:
    made = plan("ARG A=1\nFROM x\nRUN a")
    assert (made.total, made.target.first_step) == (3, 2)


def test_build_args_that_nobody_declares() -> None:
    made = plan("FROM x\nARG a", a="1", b="2", HTTP_PROXY="p")
    assert made.unused_args == ("b",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ARG V\nFROM $V", "Dockerfile:2: base name .* should not be blank"),
        ("FROM x\nCOPY --from=0 a b", "Dockerfile:2: invalid from flag value 0"),
        ("FROM x\nFROM y\nCOPY --from=7 a b", "invalid from flag value 7"),
        ("FROM x AS a\nFROM y AS A", "Dockerfile:2: duplicate name a"),
        ("FROM ${x", "Dockerfile:1: syntax error"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        plan(text)


def test_a_stage_cannot_name_a_later_one() -> None:
    made = plan("FROM x\nCOPY --from=later a b\nFROM y AS later")
    assert [s.index for s in made.stages] == [1]
    assert made.stage("later") is not None
