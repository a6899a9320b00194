"""Placement constraints, ``KEY==VALUE`` and ``KEY!=VALUE``: their grammar, and whether a node
fulfils them. Pure; asked by the API, the scheduler and the orchestrators.

Keys and values are compared without regard to case. Beyond Docker's plain comparison ``*`` and
``?`` stand for any characters and any one, and ``node.ip`` may be a network.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Iterable
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


@lru_cache(maxsize=4096)
def parsed(expressions: tuple[str, ...]) -> tuple[Constraint, ...] | None:
    """None: one of them is no constraint, which nobody fulfils."""
    try:
        return tuple(parse(expression) for expression in expressions)
    except SampanError:
        return None


def fulfils(node: Node, placement: Placement | None) -> bool:
    """Every constraint holds on ``node``."""
    if placement is None or not placement.constraints:
        return True
    constraints = parsed(placement.constraints)
    return constraints is not None and all(_holds(one, node) for one in constraints)


def _holds(constraint: Constraint, node: Node) -> bool:
    key = constraint.key.lower()
    described = node.description
    match key:
        case "node.id":
            values = [node.id]
        case "node.hostname":
            values = [described.hostname]
        case "node.role":
            values = [node.role]
        case "node.platform.os":
            values = [described.platform.os]
        case "node.platform.arch":
            word = described.platform.architecture
            values = [word, architecture(word)]
        case "node.ip":
            return _address(constraint, node)
        case _ if key.startswith("node.labels."):
            values = [_label(node.spec.labels, constraint.key[len("node.labels.") :])]
        case _ if key.startswith("engine.labels."):
            values = [_label(described.engine_labels, constraint.key[len("engine.labels.") :])]
        case _:
            return False
    same = any(_equal(constraint.value, value) for value in values)
    return same if constraint.operator == "==" else not same


def _label(labels: dict[str, str], name: str) -> str:
    """A label that is not there is empty."""
    return labels.get(name, "")


def _equal(wanted: str, value: str) -> bool:
    wanted, value = wanted.lower(), value.lower()
    if "*" in wanted or "?" in wanted:
        return fnmatch.fnmatchcase(value, wanted.replace("[", "[[]"))
    return wanted == value


def _address(constraint: Constraint, node: Node) -> bool:
    try:
        wanted = ipaddress.ip_network(constraint.value, strict=False)
        address = ipaddress.ip_address(node.status.address)
    except ValueError:
        return False
    same = address in wanted
    return same if constraint.operator == "==" else not same
