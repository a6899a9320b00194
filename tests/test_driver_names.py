"""Nobody asks for a driver by its name: what must be known of one is in its capabilities.

A name stands in the driver's own file, in the list that enters the built-in ones, and as the
default of who says nothing. A comparison with one anywhere else is a driver that is not one file
and one line.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "sampan"
PACKAGES = ("api", "build", "cluster", "engine", "network", "plugins", "runtime", "volume")
OWN = ("network/drivers", "network/builtin.py", "runtime/log_drivers", "runtime/oci_runtimes")
NAMES = frozenset(
    [
        "bridge",
        "host",
        "null",
        "none",
        "overlay",
        "macvlan",
        "ipvlan",
        "default",
        "json-file",
        "local",
        "journald",
        "syslog",
        "fluentd",
        "gelf",
        "crun",
        "runc",
    ]
)
ABOUT_DRIVERS = re.compile(r"driver|log_config\.type|runtime_name|\.runtime\b", re.IGNORECASE)


def comparisons(tree: ast.AST) -> Iterator[tuple[ast.expr, list[str]]]:
    """(what is compared, the words it is compared with) of every comparison with words."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            words = [word for side in sides for word in _words(side)]
            for side in sides:
                if words and not _words(side):
                    yield side, words
        elif isinstance(node, ast.Match):
            cases = [value for case in node.cases for value in ast.walk(case.pattern)]
            words = [
                word
                for value in cases
                if isinstance(value, ast.MatchValue)
                for word in _words(value.value)
            ]
            if words:
                yield node.subject, words


def _words(side: ast.expr) -> list[str]:
    if isinstance(side, ast.Constant) and isinstance(side.value, str) and side.value:
        return [side.value]
    if isinstance(side, ast.Tuple | ast.List | ast.Set):
        return [word for element in side.elts for word in _words(element)]
    return []


def asked_by_name(text: str) -> list[str]:
    return [
        f"{ast.unparse(side)} with {', '.join(words)}"
        for side, words in comparisons(ast.parse(text))
        if NAMES.intersection(words)
        and ABOUT_DRIVERS.search(ast.unparse(side))
        # a capability is how to ask, whatever its value is called
        and ".capabilities." not in ast.unparse(side)
    ]


@pytest.mark.parametrize(
    "path",
    [p for package in PACKAGES for p in sorted((SOURCE / package).rglob("*.py"))],
    ids=lambda p: str(p.relative_to(SOURCE)),
)
def test_no_driver_is_asked_for_by_name(path: Path) -> None:
    if not str(path.relative_to(SOURCE)).startswith(OWN):
        assert not asked_by_name(path.read_text())


@pytest.mark.parametrize(
    "text",
    [
        'if network.driver == "overlay": pass',
        'if "bridge" != segment.network.driver: pass',
        'x = driver in ("host", "none", "null")',
        'if host.log_config.type not in ("", "json-file"): pass',
        'match network.driver:\n    case "bridge": pass',
    ],
)
def test_a_comparison_is_seen(text: str) -> None:
    assert asked_by_name(text)


@pytest.mark.parametrize(
    "text",
    ['if network.name == "host": pass', "x = driver == other", 'x = driver or "bridge"'],
)
def test_what_is_none_is_not(text: str) -> None:
    assert not asked_by_name(text)
