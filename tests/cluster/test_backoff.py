"""The pauses between tries."""

from __future__ import annotations

import pytest

from sampan.cluster.backoff import backoff_s


@pytest.mark.parametrize(
    ("failures", "pause"), [(1, 0.1), (2, 0.2), (3, 0.4), (6, 3.2), (7, 5.0), (100, 5.0)]
)
def test_it_doubles_up_to_a_limit(failures: int, pause: float) -> None:
    assert backoff_s(failures) == pytest.approx(pause)


def test_who_is_cut_off_for_days_goes_on_trying() -> None:
    assert backoff_s(100_000, 0.2, 300.0) == 300.0
