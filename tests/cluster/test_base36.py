"""Identifiers and secrets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.cluster.base36 import RANDOM_LENGTH, base36, random_base36


@given(st.integers(0, (1 << 128) - 1))
def test_what_is_written_is_read_again(number: int) -> None:
    text = base36(number, RANDOM_LENGTH)
    assert len(text) == RANDOM_LENGTH
    assert int(text, 36) == number


def test_no_two_are_alike() -> None:
    assert len({random_base36() for _ in range(1000)}) == 1000
