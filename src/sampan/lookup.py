"""From what a user types to the one thing that is meant: a whole key, or the beginning of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


def by_prefix(
    rows: Mapping[str, T],
    ref: str,
    *,
    missing: Callable[[], Exception],
    ambiguous: Callable[[int], Exception],
) -> T:
    """The row whose key is ``ref``, or the only one whose key begins with it.

    Raises:
        missing(): there is none, or ``ref`` is empty.
        ambiguous(number): that many keys begin with ``ref``.
    """
    if (exact := rows.get(ref)) is not None:
        return exact
    matches = (row for key, row in rows.items() if ref and key.startswith(ref))
    return only(matches, missing=missing, ambiguous=ambiguous)


def only(
    matches: Iterable[T],
    *,
    missing: Callable[[], Exception],
    ambiguous: Callable[[int], Exception],
) -> T:
    """The one element of ``matches``; raises as ``by_prefix`` does."""
    found = list(matches)
    if not found:
        raise missing()
    if len(found) > 1:
        raise ambiguous(len(found))
    return found[0]
