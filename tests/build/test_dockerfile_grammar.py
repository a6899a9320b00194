from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sampan.build.contract import DockerfileError
from sampan.build.dockerfile import Instruction, parse
from sampan.build.dockerfile.instructions import (
    Arg,
    Cmd,
    Command,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Onbuild,
    Run,
    Shell,
    Stopsignal,
    User,
    Volume,
    Workdir,
)


def steps(text: str) -> tuple[Instruction, ...]:
    return parse(f"FROM x\n{text}").stages[0].steps


def one(text: str) -> Instruction:
    found = steps(text)
    assert len(found) == 1
    return found[0]


def test_stages_and_args_before_from() -> None:
    file = parse("ARG V=1\nfrom --platform=linux/arm64 a:$V As Build\nRUN x\nFROM scratch\n")
    assert [arg.pairs for arg in file.args] == [(("V", "1"),)]
    first, second = file.stages
    assert (first.base.image, first.base.alias) == ("a:$V", "build")
    assert first.base.platform == "linux/arm64"
    assert len(first.steps) == 1
    assert second.base.image == "scratch"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("RUN a \\\n  && b", "RUN a   && b"),
        ("RUN a \\  \n b", "RUN a  b"),
        ("RUN a \\\n# comment\n\n   # another\n  b", "RUN a   b"),
        ("RUN a \\\r\n b\r\n", "RUN a  b"),
        ("   RUN a", "RUN a"),
        ("RUN a \\", "RUN a"),
        ("RUN a \\\\\nUSER b", "RUN a \\\\"),
        ("RUN echo '# no comment'", "RUN echo '# no comment'"),
    ],
)
def test_lines_continue(text: str, shown: str) -> None:
    assert steps(text)[0].text == shown


def test_escape_directive() -> None:
    file = parse("# escape=`\nFROM x\nRUN dir c:\\\nRUN a `\n b")
    assert [step.text for step in file.stages[0].steps] == ["RUN dir c:\\", "RUN a  b"]


def test_a_directive_after_a_comment_is_a_comment() -> None:
    assert parse("# hello\n# escape=`\nFROM x").escape == "\\"
    assert parse("#syntax=docker/dockerfile:1\n# escape = ` \nFROM x").escape == "`"


def test_line_numbers_are_of_the_first_line() -> None:
    file = parse("# c\n\nFROM x\nRUN a \\\n b\n\nRUN c\n")
    assert [step.line for step in file.stages[0].steps] == [4, 7]


@pytest.mark.parametrize(
    ("text", "args", "shell"),
    [
        ('["a", "b c"]', ("a", "b c"), False),
        ("a 'b c'", ("a 'b c'",), True),
        ("[ -e x ] && y", ("[ -e x ] && y",), True),
        ("['single']", ("['single']",), True),
        ('["\\u00e9"]', ("é",), False),
    ],
)
def test_command_forms(text: str, args: tuple[str, ...], shell: bool) -> None:
    for keyword, kind in (("RUN", Run), ("CMD", Cmd), ("ENTRYPOINT", Entrypoint)):
        step = one(f"{keyword} {text}")
        assert isinstance(step, kind)
        assert step.command == Command(args, shell)


def test_run_heredoc_is_the_command() -> None:
    step, after = steps("RUN <<EOF\nset -e\n  echo $x\nEOF\nUSER a")
    assert isinstance(step, Run)
    assert step.command == Command(("set -e\n  echo $x\n",), True)
    assert step.script is not None
    assert isinstance(after, User)


def test_run_with_a_heredoc_for_a_program() -> None:
    step = one("RUN python3 - <<'EOF' > /out\nprint(1)\nEOF")
    assert isinstance(step, Run)
    assert step.command == Command(("python3 - <<'EOF' > /out\nprint(1)\nEOF",), True)
    assert step.script is None


def test_no_heredoc_in_quotes_and_shifts() -> None:
    assert isinstance(one('RUN echo "<<EOF" $((1<<2))'), Run)


def test_copy_heredocs() -> None:
    step = one("COPY <<-a <<'b' c /d/\n\tone $x\n\ta\ntwo\nb\n")
    assert isinstance(step, Copy)
    assert step.sources == ("c",)
    assert step.dest == "/d/"
    assert [(d.name, d.content, d.expand) for d in step.heredocs] == [
        ("a", "one $x\n", True),
        ("b", "two\n", False),
    ]


def test_copy_flags() -> None:
    step = one('COPY --from=build --chown=1:2 --chmod=755 --link ["a b", "c", "/d/"]')
    assert isinstance(step, Copy)
    assert (step.from_, step.chown, step.chmod) == ("build", "1:2", "755")
    assert (step.sources, step.dest) == (("a b", "c"), "/d/")


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("a=b", (("a", "b"),)),
        ("a=b c=d", (("a", "b"), ("c", "d"))),
        ("a the rest  of it", (("a", "the rest  of it"),)),
        ('a="b c" d=e\\ f', (("a", '"b c"'), ("d", "e\\ f"))),
        ("a=", (("a", ""),)),
        ("a=b=c", (("a", "b=c"),)),
    ],
)
def test_pairs(text: str, pairs: tuple[tuple[str, str], ...]) -> None:
    env, label = one(f"ENV {text}"), one(f"LABEL {text}")
    assert isinstance(env, Env)
    assert isinstance(label, Label)
    assert env.pairs == label.pairs == pairs


def test_the_small_ones() -> None:
    found = steps(
        "ARG A B=c\nWORKDIR a b\nUSER u:g\nEXPOSE 80 53/udp\nVOLUME /a /b\n"
        'VOLUME ["/c d"]\nSHELL ["/bin/bash", "-c"]\nSTOPSIGNAL SIGINT\n'
        "ONBUILD COPY . /app\nHEALTHCHECK NONE\n"
    )
    arg, workdir, user, expose, volume, volume2, shell, stop, onbuild, health = found
    assert isinstance(arg, Arg)
    assert arg.pairs == (("A", None), ("B", "c"))
    assert isinstance(workdir, Workdir)
    assert workdir.path == "a b"
    assert isinstance(user, User)
    assert user.user == "u:g"
    assert isinstance(expose, Expose)
    assert expose.ports == ("80", "53/udp")
    assert isinstance(volume, Volume)
    assert volume.paths == ("/a", "/b")
    assert isinstance(volume2, Volume)
    assert volume2.paths == ("/c d",)
    assert isinstance(shell, Shell)
    assert shell.args == ("/bin/bash", "-c")
    assert isinstance(stop, Stopsignal)
    assert stop.signal == "SIGINT"
    assert isinstance(onbuild, Onbuild)
    assert onbuild.trigger == "COPY . /app"
    assert isinstance(health, Healthcheck)
    assert health.none


def test_healthcheck_options() -> None:
    step = one(
        "HEALTHCHECK --interval=1m30s --timeout=500ms --start-period=2s --retries=4 CMD curl x"
    )
    assert isinstance(step, Healthcheck)
    assert (step.interval_ns, step.timeout_ns) == (90 * 10**9, 5 * 10**8)
    assert (step.start_period_ns, step.retries) == (2 * 10**9, 4)
    assert step.command == Command(("curl x",), True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Dockerfile: file with no instructions"),
        ("# only\n", "file with no instructions"),
        ("RUN a", "Dockerfile:1: no build stage in current context"),
        ("ARG a", "no build stage in current context"),
        ("FROM x\n\nRUNN a", r"Dockerfile:3: unknown instruction: RUNN \(did you mean RUN\?\)"),
        ("FROM x\nzzzz", "Dockerfile:2: unknown instruction: zzzz$"),
        ("FROM a b", "Dockerfile:1: FROM requires either one or three arguments"),
        ("FROM a AS 1", "invalid name for build stage"),
        ("FROM x\nCOPY a", "COPY requires at least two arguments"),
        ("FROM x\nCOPY --form=a b c", r"unknown flag: --form for COPY \(did you mean --from\?\)"),
        ("FROM x\nCOPY --from= b c", "missing a value on flag: --from"),
        ("FROM x\nCOPY --from=a --from=b b c", "duplicate flag specified: from"),
        ("FROM x\nCOPY --parents a b", "COPY --parents is not supported yet"),
        ("FROM x\nRUN", "RUN requires at least one argument"),
        ("FROM x\nRUN --security=insecure a", "never privileged"),
        ('FROM x\nRUN ["a", 1]', "arrays must be comprised of strings only"),
        ("FROM x\nENV a", "ENV must have two arguments"),
        ("FROM x\nENV a=b c", "can't find = in 'c'"),
        ("FROM x\nSHELL bash", "JSON form"),
        ("FROM x\nONBUILD ONBUILD RUN a", "Chaining ONBUILD"),
        ("FROM x\nONBUILD FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM x\nHEALTHCHECK FOO", "unknown type 'FOO' in HEALTHCHECK"),
        ("FROM x\nHEALTHCHECK --interval=soon CMD a", "invalid duration 'soon'"),
        ("FROM x\nRUN <<EOF\na", "Dockerfile:2: unterminated heredoc"),
        ("# escape=x\nFROM a", "invalid escape token"),
        ("# escape=`\n# escape=`\nFROM a", "only one escape parser directive"),
    ],
)
def test_errors_name_file_line_and_cure(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        parse(text)


@given(st.text(st.sampled_from("FROM RUNCOPY\\\n<E'\"`#=[]{}$-ab\t "), max_size=200))
def test_any_text_parses_or_is_refused_with_the_files_name(text: str) -> None:
    message = "D:"
    try:
        parse(f"FROM x\n{text}", "D")
    except DockerfileError as error:
        message = str(error)
    assert message.startswith("D:")


_words = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\\"), max_size=20)


@given(st.lists(_words.filter(lambda w: not w.strip().startswith("#")), min_size=1, max_size=5))
def test_a_continued_line_is_the_same_as_a_joined_one(words: list[str]) -> None:
    whole = "RUN x" + "".join(words)
    broken = "RUN x\\\n" + "\\\n".join(word for word in words if word.strip())
    joined = "RUN x" + "".join(word for word in words if word.strip())
    assume("<<" not in whole)  # a heredoc has its own rules
    assert steps(broken)[0].text == joined.strip()
