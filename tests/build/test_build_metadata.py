from __future__ import annotations

import json

import pytest

from sampan.build.contract import DockerfileError
from sampan.build.dockerfile import parse
from sampan.build.metadata import Scope, apply, workdir
from sampan.build.state import StageState, from_scratch, render
from sampan.image.config import parse_config


def run(text: str, state: StageState | None = None, **build_args: str | None) -> StageState:
    scope = Scope("Dockerfile", "\\", build_args, {"TARGETARCH": "amd64"})
    state = state or from_scratch("linux", "amd64", "")
    for step in parse(f"FROM scratch\n{text}").stages[0].steps:
        state = apply(state, step, scope, 0.0)
    return state


def test_env_sees_what_was_before_the_line() -> None:
    state = run("ENV a=1\nENV a=2 b=$a\nENV c=${b}x")
    assert state.env == {"PATH": state.env["PATH"], "a": "2", "b": "1", "c": "1x"}


def test_args_env_and_build_args() -> None:
    state = run("ARG a=1\nARG b=$a\nARG c\nARG TARGETARCH\nARG e=5\nENV e=6\nENV f=$e$b", b="9")
    assert state.args == {"a": "1", "b": "9", "TARGETARCH": "amd64", "e": "5"}
    assert state.env["f"] == "69"


def test_entrypoint_forgets_an_inherited_cmd_only() -> None:
    base = run('CMD ["x"]')
    inherited = StageState(config=base.config, key="k")
    assert run('ENTRYPOINT ["e"]', inherited).config.cmd is None
    own = run('CMD ["x"]\nENTRYPOINT ["e"]').config
    assert (own.entrypoint, own.cmd) == (("e",), ("x",))


def test_shell_form_uses_the_stages_shell() -> None:
    config = run('CMD a b\nSHELL ["/bin/bash", "-c"]\nENTRYPOINT c').config
    assert config.cmd == ("/bin/sh", "-c", "a b")
    assert config.entrypoint == ("/bin/bash", "-c", "c")


def test_everything_arrives_in_the_oci_config() -> None:
    state = run(
        "LABEL a=1 b='2 3'\nEXPOSE 80 53/udp 8000-8001\nVOLUME /v\nUSER u\nSTOPSIGNAL SIGINT\n"
        "HEALTHCHECK --retries=2 CMD true\nONBUILD RUN x\nMAINTAINER me\nENV p='80 81'\nEXPOSE $p"
    )
    config = parse_config(json.dumps(render(state.config)).encode())
    assert config.labels == {"a": "1", "b": "2 3"}
    assert config.exposed_ports == ("80/tcp", "53/udp", "8000/tcp", "8001/tcp", "81/tcp")
    assert (config.volumes, config.user, config.stop_signal) == (("/v",), "u", "SIGINT")
    assert config.healthcheck == {"Test": ["CMD-SHELL", "true"], "Retries": 2}
    assert (config.on_build, config.author) == (("RUN x",), "me")
    assert config == state.config
    assert [entry["empty_layer"] for entry in config.history] == [True] * 10
    assert config.history[0]["created_by"] == "/bin/sh -c #(nop)  LABEL a=1 b=2 3"


def test_key_changes_with_what_a_step_says_and_not_with_time() -> None:
    assert run("ENV a=1").key == run("ENV a=1").key != run("ENV a=2").key
    assert run("ARG x\nENV a=$x", x="1").key != run("ARG x\nENV a=$x", x="2").key
    # An argument counts where it is used.
    assert run("ARG x", x="1").key == run("ARG x", x="2").key


def test_workdir_is_relative_to_the_one_before() -> None:
    state = run("")
    assert workdir(state, "a/../b") == "/b"
    assert workdir(state, "/") == "/"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("EXPOSE http", "Dockerfile:2: invalid containerPort: http"),
        ("EXPOSE 70000", "invalid containerPort"),
        ("STOPSIGNAL //", "invalid signal"),
        ('ENV a="${b:?no b}"', "Dockerfile:2: b: no b"),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        run(text)


def test_the_later_of_an_argument_and_a_variable_wins() -> None:
    state = run("ENV a=env b=env\nARG a=arg\nARG b\nARG c=arg\nENV c=env\nENV d=$a$b$c")
    assert state.env == {**state.env, "a": "env", "b": "env", "c": "env", "d": "argenvenv"}
    assert state.variables["a"] == "arg"
    again = run("ENV a=env\nARG a=arg\nENV a=late")
    assert again.variables["a"] == "late"
