"""Placement constraints, ``KEY==VALUE`` and ``KEY!=VALUE``: their grammar, and whether a node
fulfils them. Pure; asked by the API, the scheduler and the orchestrators.

Keys and values are compared without regard to case. Beyond Docker's plain comparison ``*`` and
``?`` stand for any characters and any one, and ``node.ip`` may be a network.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from sampan.cluster.errors import Refused
from sampan.cluster.records import Node
from sampan.cluster.spec import Placement
from sampan.errors import SampanError

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
        Refused: it is not a constraint.
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


_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "i386": "386",
    "i686": "386",
    "aarch64": "arm64",
    "armhf": "arm",
    "armv7l": "arm",
    "armel": "arm",
}


def architecture(word: str) -> str:
    """As images spell it."""
    return _ARCHITECTURES.get(word.lower(), word.lower())


Holds = Callable[[Node], bool]


@lru_cache(maxsize=4096)
def bound(expressions: tuple[str, ...]) -> Holds | None:
    """The test of a node by constraints that all have to hold, made once for many nodes. None: one
    of them is no constraint, which nobody fulfils."""
    try:
        tests = [_bind(parse(expression)) for expression in expressions]
    except SampanError:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda node: all(test(node) for test in tests)


def fulfils(node: Node, placement: Placement | None) -> bool:
    """Every constraint holds on ``node``."""
    if placement is None or not placement.constraints:
        return True
    holds = bound(placement.constraints)
    return holds is not None and holds(node)


def _bind(constraint: Constraint) -> Holds:
    key = constraint.key.lower()
    match key:
        case "node.id":
            same = _equal(constraint, lambda node: node.id)
        case "node.hostname":
            same = _equal(constraint, lambda node: node.description.hostname)
        case "node.role":
            same = _equal(constraint, lambda node: node.role)
        case "node.platform.os":
            same = _equal(constraint, lambda node: node.description.platform.os)
        case "node.platform.arch":
            word = _equal(constraint, lambda node: node.description.platform.architecture)
            image = _equal(
                constraint, lambda node: architecture(node.description.platform.architecture)
            )
            same = lambda node: word(node) or image(node)  # noqa: E731
        case "node.ip":
            return _address(constraint)
        # a label that is not there is empty
        case _ if key.startswith("node.labels."):
            label = constraint.key[len("node.labels.") :]
            same = _equal(constraint, lambda node: node.spec.labels.get(label, ""))
        case _ if key.startswith("engine.labels."):
            label = constraint.key[len("engine.labels.") :]
            same = _equal(constraint, lambda node: node.description.engine_labels.get(label, ""))
        case _:
            return lambda _: False
    return same if constraint.operator == "==" else lambda node: not same(node)


def _equal(constraint: Constraint, value: Callable[[Node], str]) -> Holds:
    wanted = constraint.value.lower()
    if "*" in wanted or "?" in wanted:
        matches = re.compile(fnmatch.translate(wanted.replace("[", "[[]"))).match
        return lambda node: matches(value(node).lower()) is not None
    return lambda node: value(node).lower() == wanted


def _address(constraint: Constraint) -> Holds:
    try:
        wanted = ipaddress.ip_network(constraint.value, strict=False)
    except ValueError:
        return lambda _: False

    def holds(node: Node) -> bool:
        try:
            same = ipaddress.ip_address(node.status.address) in wanted
        except ValueError:
            return False
        return same if constraint.operator == "==" else not same

    return holds
