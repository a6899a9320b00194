from __future__ import annotations

import contextlib

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


@pytest.mark.parametrize("word", ["${v", "${}", "${v:", "'a", '"a', "${v:=x}", "${v%x}", "${.}"])
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
