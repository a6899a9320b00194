"""Bounded feeds: in order, to the end, or cut off with a word."""

from __future__ import annotations

import pytest

from sampan.feeds import BoundedFeed


class Lagged(Exception):
    pass


def feed(limit: int = 3) -> tuple[BoundedFeed[int], list[BoundedFeed[int]]]:
    ended: list[BoundedFeed[int]] = []
    return BoundedFeed[int](limit, Lagged, ended.append), ended


async def test_what_waits_is_given_out_after_closing() -> None:
    items, ended = feed()
    items.offer(1)
    items.offer(2)
    items.close()
    assert [item async for item in items] == [1, 2]
    assert ended == [items]


async def test_who_lags_gets_what_was_queued_and_is_told() -> None:
    items, ended = feed(limit=2)
    for number in range(4):
        items.offer(number)
    reader = aiter(items)
    assert [await anext(reader), await anext(reader)] == [0, 1]
    with pytest.raises(Lagged):
        await anext(reader)
    assert ended[0] is items
