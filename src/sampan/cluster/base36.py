"""Numbers as Docker writes a cluster's identifiers and secrets: lower case, of a fixed length."""

from __future__ import annotations

import secrets

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH = 25
"""Digits that 128 bits need."""


def base36(number: int, length: int) -> str:
    """The last ``length`` digits of ``number`` (>= 0), with leading zeros."""
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 36)
        digits.append(_DIGITS[rest])
    return "".join(reversed(digits))


def random_base36() -> str:
    """128 random bits, nobody's guess."""
    return base36(secrets.randbits(128), RANDOM_LENGTH)
