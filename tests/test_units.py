"""Sizes and durations: one grammar for everything that reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.units import duration_ns, duration_text, size_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("64m", 64 << 20),
        ("64M", 64 << 20),
        ("64mb", 64 << 20),
        ("64MiB", 64 << 20),
        ("64Mi", 64 << 20),
        ("1.5g", 3 << 29),
        (".5k", 512),
        ("2 GB", 2 << 30),
        ("1t", 1 << 40),
        ("1p", 1 << 50),
        ("10b", 10),
        ("-1", -1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "m", "-", ".", "1x", "1bk", "1mm", "1.2.3m", "1e3", "lots"])
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size: write it like"):
        size_bytes(text)


@pytest.mark.parametrize(
    ("text", "ns"),
    [("0", 0), ("1m30s", 90 * 10**9), ("500ms", 5 * 10**8), ("1.5h", 5400 * 10**9),
     (".5s", 5 * 10**8), ("2us", 2000), ("2µs", 2000), ("2μs", 2000), ("7ns", 7),
     ("1h0m0.5s", 3600 * 10**9 + 5 * 10**8)],
)  # fmt: skip
def test_durations(text: str, ns: int) -> None:
    assert duration_ns(text) == ns
    assert duration_ns(text, days=True, signed=True) == ns


def test_days_and_signs_are_for_those_who_take_them() -> None:
    assert duration_ns("2d", days=True) == 2 * 86400 * 10**9
    assert duration_ns("-5s", signed=True) == -5 * 10**9
    assert duration_ns("+5s", signed=True) == 5 * 10**9
    for text in ("2d", "-5s", "+5s", "5", "", "s", "1m 2s", "1.2.3s", "x"):
        with pytest.raises(ValueError, match="is not a duration: write it like"):
            duration_ns(text)


@given(st.integers(0, 10**15))
def test_what_is_printed_is_read_again(ns: int) -> None:
    ns -= ns % 10**6
    assert abs(duration_ns(duration_text(ns)) - ns) <= max(10**6, ns // 10**5)
