"""From what a user types to the one thing that is meant."""

from __future__ import annotations

import pytest

from sampan.lookup import by_prefix

ROWS = {"abc": 1, "abd": 2, "x": 3, "xy": 4}


class Missing(Exception):
    pass


class Ambiguous(Exception):
    pass


def find(ref: str) -> int:
    return by_prefix(ROWS, ref, missing=Missing, ambiguous=Ambiguous)


@pytest.mark.parametrize(("ref", "found"), [("abc", 1), ("abd", 2), ("x", 3), ("xy", 4)])
def test_a_whole_key_counts_even_when_another_begins_with_it(ref: str, found: int) -> None:
    assert find(ref) == found


def test_the_beginning_of_one_key_is_enough() -> None:
    assert by_prefix({"abc": 1}, "a", missing=Missing, ambiguous=Ambiguous) == 1


def test_the_beginning_of_several_is_refused_with_their_number() -> None:
    with pytest.raises(Ambiguous, match="2"):
        find("ab")


@pytest.mark.parametrize("ref", ["", "q", "abcd"])
def test_nothing_is_found_for_nothing(ref: str) -> None:
    with pytest.raises(Missing):
        find(ref)
