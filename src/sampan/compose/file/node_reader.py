"""Typed reading of a checked tree: a node with its path, and accessors that complain with both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from sampan import units
from sampan.compose.errors import ComposeFileError, Where
from sampan.compose.file.yaml_tree import Map, Node, Scalar, Seq

T = TypeVar("T")
_TRUE = frozenset({"true", "yes", "on", "y", "1"})
_FALSE = frozenset({"false", "no", "off", "n", "0"})


class NodeReader:
    """A node (None: absent) and how one gets there. ``null`` counts as absent."""

    __slots__ = ("_place", "node", "path")

    def __init__(self, node: Node | None, path: str, place: Where) -> None:
        self.node = None if isinstance(node, Scalar) and node.kind == "null" else node
        self.path = path
        self._place = node.where if node is not None else place

    @property
    def where(self) -> Where:
        return self._place

    def __bool__(self) -> bool:
        return self.node is not None

    def fail(self, message: str) -> ComposeFileError:
        """An error about this value, to be raised."""
        return ComposeFileError(self._place, f"{self.path}: {message}")

    def __getitem__(self, key: str) -> NodeReader:
        node = self.node.entries.get(key) if isinstance(self.node, Map) else None
        return NodeReader(node, f"{self.path}.{key}" if self.path else key, self._place)

    def at(self, path: str) -> NodeReader:
        """What is at a dotted path below this."""
        found = self
        for key in path.split("."):
            found = found[key]
        return found

    def items(self) -> Iterator[tuple[str, NodeReader]]:
        """Keys (without ``x-...``) and values of a mapping."""
        if isinstance(self.node, Map):
            for key in self.node.entries:
                if not key.startswith("x-"):
                    yield key, self[key]

    def __iter__(self) -> Iterator[NodeReader]:
        if isinstance(self.node, Seq):
            for index, item in enumerate(self.node.items):
                yield NodeReader(item, f"{self.path}[{index}]", self._place)

    @property
    def is_scalar(self) -> bool:
        return isinstance(self.node, Scalar)

    @property
    def is_list(self) -> bool:
        return isinstance(self.node, Seq)

    def text(self, default: str = "") -> str:
        return self.node.text if isinstance(self.node, Scalar) else default

    def texts(self) -> tuple[str, ...]:
        """A list of strings; a single one counts as a list of one."""
        if isinstance(self.node, Scalar):
            return (self.node.text,)
        return tuple(item.text() for item in self)

    def pairs(self) -> dict[str, str | None]:
        """A mapping of scalars; None where nothing is written behind the key."""
        return {k: (v.text() if v else None) for k, v in self.items()}

    def strings(self) -> dict[str, str]:
        """A mapping of scalars where nothing means empty."""
        return {key: value.text() for key, value in self.items()}

    def boolean(self, default: bool = False) -> bool:
        if self.node is None:
            return default
        word = self.text().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        raise self.fail(f'must be true or false, not "{self.text()}"')

    def integer(self, default: int = 0) -> int:
        return self._converted(
            lambda text: int(text, 0 if text[:2] in ("0x", "0o") else 10), default, "a whole number"
        )

    def number(self, default: float = 0) -> float:
        return self._converted(float, default, "a number")

    def size(self, default: int = 0) -> int:
        return self._converted(units.size_bytes, default, "a size")

    def duration(self, default: int = 0) -> int:
        return self._converted(
            lambda text: units.duration_ns(text, days=True), default, "a duration"
        )

    def _converted(self, convert: Callable[[str], T], default: T, words: str) -> T:
        if self.node is None:
            return default
        try:
            return convert(self.text())
        except ValueError:
            raise self.fail(f'must be {words}, not "{self.text()}"') from None
