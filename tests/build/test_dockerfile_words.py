from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.build.dockerfile import BadSubstitution, expand

ENV = {"v": "val", "empty": "", "A_1": "a1", "path": "/a b"}


@pytest.mark.parametrize(
    ("word", "result"),
    [
        ("plain", "plain"),
        ("$v", "val"),
        ("${v}", "val"),
        ("x$v/y", "xval/y"),
        ("$v_x", ""),
        ("${v}_x", "val_x"),
        ("$A_1", "a1"),
        ("$unset", ""),
        ("${unset:-d}", "d"),
        ("${empty:-d}", "d"),
        ("${empty-d}", ""),
        ("${v:-d}", "val"),
        ("${v:+set}", "set"),
        ("${empty:+set}", ""),
        ("${empty+set}", "set"),
        ("${unset:+set}", ""),
        ("${unset:-${v}}", "val"),
        ("${unset:-$v-$A_1}", "val-a1"),
        ("${v:?must}", "val"),
        ("\\$v", "$v"),
        ("'$v'", "$v"),
        ('"$v"', "val"),
        ('"a \\" \\$v \\x"', 'a " $v \\x'),
        ("a\\ b", "a b"),
        ("$", "$"),
        ("a$", "a$"),
        ("$.x", "$.x"),
        ("$1x", "x"),
        ('""', ""),
        ("a'b'\"c\"", "abc"),
        ("${path}", "/a b"),
        ("end\\", "end\\"),
    ],
)
def test_expand(word: str, result: str) -> None:
    assert expand(word, ENV) == result


def test_another_escape() -> None:
    assert expand("c:\\$v`$v", ENV, escape="`") == "c:\\val$v"


def test_heredoc_bodies_keep_their_quotes() -> None:
    assert expand("'$v' \"$v\" \\$v \\n", ENV, keep_quotes=True) == "'val' \"val\" $v \\n"


@pytest.mark.parametrize(
    "word", ["${v", "${}", "${v:", "'a", '"a', "${v:=x}", "${v^x}", "${v#x", "${v/x}", "${.}"]
)
def test_bad_substitutions(word: str) -> None:
    with pytest.raises(BadSubstitution):
        expand(word, ENV)


def test_a_required_variable_says_its_message() -> None:
    with pytest.raises(BadSubstitution, match="unset: give VERSION"):
        expand("${unset:?give VERSION}", ENV)


@given(st.text(max_size=30))
def test_single_quotes_protect_anything(text: str) -> None:
    if "'" not in text:
        assert expand(f"'{text}'", ENV) == text


@given(st.text(st.sampled_from("$v{}:-+?'\"\\ a"), max_size=20))
def test_expand_ends_in_a_string_or_a_refusal(word: str) -> None:
    with contextlib.suppress(BadSubstitution):
        assert isinstance(expand(word, ENV), str)


P = {"P": "linux/amd64/v2", "A": "aXbXc", "E": "", "S": "a*b?c"}


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("${P#linux/}", "amd64/v2"),
        ("${P#amd64}", "linux/amd64/v2"),
        ("${P#*/}", "amd64/v2"),
        ("${P##*/}", "v2"),
        ("${P%/*}", "linux/amd64"),
        ("${P%%/*}", "linux"),
        ("${P%v?}", "linux/amd64/"),
        ("${P%%*}", ""),
        ("${P%*}", "linux/amd64/v2"),
        ("${P/linux/x}", "x/amd64/v2"),
        ("${P//\\//-}", "linux-amd64-v2"),
        ("${A/X*/-}", "a-"),
        ("${A//X/}", "abc"),
        ("${A//?/y}", "yyyyy"),
        ("${A/b/$P}", "aXlinux/amd64/v2Xc"),
        ("${A#$E}", "aXbXc"),
        ("${P#${P%%/*}/}", "amd64/v2"),
        ("${S#a\\*}", "b?c"),
        ("${S%\\?c}", "a*b"),
        ("${E#x}${nothing%x}${nothing//x/y}", ""),
        ('"${P##*/}"', "v2"),
    ],
)
def test_patterns(word: str, found: str) -> None:
    assert expand(word, P) == found


def test_a_pattern_that_would_keep_a_regular_expression_busy() -> None:
    stars = "*a" * 40
    assert expand("${V#" + stars + "b}", {"V": "a" * 3000}) == "a" * 3000


@given(st.text("ab", max_size=12), st.text("ab*?", max_size=6), st.booleans())
def test_patterns_are_those_of_a_shell(value: str, pattern: str, longest: bool) -> None:
    found = expand("${V#" + ("#" if longest else "") + pattern + "}", {"V": value})
    wanted = re.compile(
        "".join({"*": ".*", "?": "."}.get(char, char) for char in pattern), re.DOTALL
    )
    ends = [end for end in range(len(value) + 1) if wanted.fullmatch(value, 0, end)]
    cut = (max if longest else min)(ends, default=0)
    assert found == value[cut:]
    back = expand("${V%" + ("%" if longest else "") + pattern + "}", {"V": value})
    starts = [start for start in range(len(value) + 1) if wanted.fullmatch(value, start)]
    assert back == value[: (min if longest else max)(starts, default=len(value))]
