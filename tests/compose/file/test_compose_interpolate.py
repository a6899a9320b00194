from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.compose.file.interpolate import BadSubstitution, RequiredVariable, substitute

VARIABLES = {"A": "a", "EMPTY": "", "NAME": "x"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("$A", "a"),
        ("${A}", "a"),
        ("$A-$NAME.", "a-x."),
        ("$$A", "$A"),
        ("$${A}", "${A}"),
        ("${UNSET}", ""),
        ("${UNSET:-d}", "d"),
        ("${UNSET-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${A:-d}", "a"),
        ("${A:+alt}", "alt"),
        ("${EMPTY:+alt}", ""),
        ("${EMPTY+alt}", "alt"),
        ("${UNSET+alt}", ""),
        ("${A:?no}", "a"),
        ("${EMPTY?no}", ""),
        ("${UNSET:-${NAME}y}", "xy"),
        ("${UNSET:-${ALSO:-deep}}", "deep"),
        ("${UNSET:-a}b}", "ab}"),
        ("${A:-${MISSING:?never evaluated}}", "a"),
        ("http://${UNSET:-h:80}/", "http://h:80/"),
        ("$", "$"),
        ("{print $1}", "{print $1}"),
        ("a$ b", "a$ b"),
        ("HostRegexp(`^.+$`)", "HostRegexp(`^.+$`)"),
        ("$($A)$.", "$(a)$."),
        ("${UNSET:-$}", "$"),
    ],
)
def test_table(text: str, expected: str) -> None:
    assert substitute(text, VARIABLES) == expected


@pytest.mark.parametrize("text", ["${", "${}", "${A", "${A!x}", "${-x}"])
def test_what_is_no_variable_is_refused(text: str) -> None:
    with pytest.raises(BadSubstitution):
        substitute(text, VARIABLES)


@pytest.mark.parametrize("text", ["${UNSET:?say ${A}}", "${EMPTY:?say a}", "${UNSET?say a}"])
def test_required_variables_say_their_message(text: str) -> None:
    with pytest.raises(RequiredVariable, match=r"missing a value: say a\Z"):
        substitute(text, VARIABLES)


def test_unset_variables_are_told() -> None:
    missed: list[str] = []
    substitute("$ONE ${TWO} ${THREE:-d} ${A:-$FOUR}", VARIABLES, missed.append)
    assert missed == ["ONE", "TWO"]


@given(st.text())
def test_doubled_dollars_keep_any_text(text: str) -> None:
    assert substitute(text.replace("$", "$$"), VARIABLES) == text


@given(st.text(alphabet="$${}:?-+AB ab1", max_size=30))
def test_any_text_is_substituted_or_refused(text: str) -> None:
    with contextlib.suppress(BadSubstitution, RequiredVariable):
        assert isinstance(substitute(text, VARIABLES), str)
