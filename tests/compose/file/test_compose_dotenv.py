from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.compose.errors import ComposeFileError
from sampan.compose.file.dotenv import parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ("# c\n\n  A = 1  \n", {"A": "1"}),
        ("export A=1", {"A": "1"}),
        ("A=1 # comment", {"A": "1"}),
        ("A=1#not", {"A": "1#not"}),
        ("A=", {"A": ""}),
        ("A= # comment", {"A": ""}),
        ("A='$B # x'", {"A": "$B # x"}),
        ('A="x # y" # z', {"A": "x # y"}),
        (r'A="a\nb\t\"c\""', {"A": 'a\nb\t"c"'}),
        ('A="one\ntwo"\nB=3', {"A": "one\ntwo", "B": "3"}),
        ("A='one\ntwo'", {"A": "one\ntwo"}),
        ("A=1\nB=${A}2", {"A": "1", "B": "12"}),
        ('A="$OUT"', {"A": "out"}),
        (r'A="\$OUT"', {"A": "$OUT"}),
        ("A: 1", {"A": "1"}),
        ("OUT", {"OUT": "out"}),
        ("NOWHERE", {"NOWHERE": None}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ],
)
def test_table(text: str, expected: dict[str, str | None]) -> None:
    assert parse(text, ".env", {"OUT": "out"}) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\n=2", ".env:2: expected NAME=VALUE"),
        ('A=1\nB="x', ".env:2: B: the closing"),
        ("A=${B:?no}", ".env:1: A: required variable B"),
        ("A='x' y", ".env:1: A: after the closing quote"),
    ],
)
def test_mistakes_name_their_line(text: str, message: str) -> None:
    with pytest.raises(ComposeFileError) as caught:
        parse(text, ".env", {})
    assert str(caught.value).startswith(message)


@given(st.text(alphabet=st.characters(exclude_characters="'\\\r", codec="utf-8")))
def test_single_quotes_keep_anything(value: str) -> None:
    assert parse(f"A='{value}'\nB=1", ".env", {}) == {"A": value, "B": "1"}
