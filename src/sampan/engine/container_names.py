"""Container names: their grammar, and names for those who were given none."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

from sampan.engine.container_name_words import ADJECTIVES, NOUNS
from sampan.errors import InvalidArgument

LONGEST = 255
"""Characters: a name is a part of the names of files."""
_NAME = re.compile(r"/?[a-zA-Z0-9][a-zA-Z0-9_.-]+")


def checked_name(name: str) -> str:
    """``name`` without its leading slash.

    Raises:
        InvalidArgument: not a name that a container may have.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"Invalid container name ({name[:80]}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )
    if len(name) > LONGEST:
        raise InvalidArgument(
            f"Invalid container name ({name[:40]}...): {len(name)} characters, at most {LONGEST}"
        )
    return name.removeprefix("/")


def made_up_name(taken: Callable[[str], bool]) -> str:
    """An ``adjective_noun`` that no container has; with a number when luck runs out."""
    for attempt in range(1000):
        name = f"{random.choice(ADJECTIVES)}_{random.choice(NOUNS)}"
        if attempt > 5:
            name += str(random.randrange(10 ** (1 + attempt // 10)))
        if not taken(name):
            return name
    raise AssertionError("a thousand random names were all taken")
