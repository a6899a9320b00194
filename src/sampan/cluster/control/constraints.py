"""The grammar of placement constraints: ``KEY==VALUE`` and ``KEY!=VALUE``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from sampan.cluster.control.errors import Refused

_KEY = re.compile(r"(?i)[a-z_][a-z0-9\-_.]+", re.ASCII)
_VALUE = re.compile(r"(?i)[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+", re.ASCII)
_OPERATOR = re.compile(r"==|!=")


@dataclass(frozen=True, slots=True)
class Constraint:
    key: str
    operator: Literal["==", "!="]
    value: str


def parse(expression: str) -> Constraint:
    """One constraint.

    Raises:
        Refused: it is none.
    """
    found = _OPERATOR.search(expression)
    if found is None:
        raise Refused("constraint expected one operator from ==, !=")
    key, value = expression[: found.start()].strip(), expression[found.end() :].strip()
    if not _KEY.fullmatch(key):
        raise Refused(f"key '{key}' is invalid")
    if not _VALUE.fullmatch(value):
        raise Refused(f"value '{value}' is invalid")
    return Constraint(key, "==" if found[0] == "==" else "!=", value)


def check(expressions: Iterable[str]) -> None:
    """Each is a constraint. Whether any node fulfils it is another question, asked later.

    Raises:
        Refused.
    """
    for expression in expressions:
        parse(expression)
