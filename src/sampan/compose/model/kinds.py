"""The simple kinds of keys: a word, a list of words, a size ... Each reads into one type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sampan.compose.file import forms
from sampan.compose.file.node_reader import NodeReader
from sampan.compose.file.schema_types import (
    ANYTHING,
    BOOLEAN,
    LIST_OR_MAP,
    NUMBER,
    SCALAR,
    STRING,
    STRING_OR_LIST,
    STRINGS,
    Form,
    ListOf,
    MapOf,
    Shape,
)
from sampan.compose.model.table import NO_FORM, Kind, Reading
from sampan.units import duration_text

_NOTHING = (None, "", 0)
Reader = Callable[[NodeReader, Reading], Any]


def one(read: Callable[[NodeReader], Any]) -> Reader:
    """A reader that looks at its own value only."""
    return lambda cur, _reading: read(cur)


def word_of(*known: str, lower: bool = False, also: dict[str, str] | None = None) -> Kind:
    """One of these words; ``also`` has others and what they mean. Raises ComposeFileError."""
    meanings = also or {}

    def read(cur: NodeReader) -> str:
        word = cur.text().lower() if lower else cur.text()
        word = meanings.get(word, word)
        if word and word not in known:
            raise cur.fail(f'"{cur.text()}" is not one of {", ".join(known)}')
        return word

    return Kind(STRING, one(read), "str")


def _swap(cur: NodeReader) -> int:
    return -1 if cur.text() == "-1" else cur.size()


def _sorted(value: dict[str, str]) -> dict[str, str]:
    return dict(sorted(value.items()))


def _span(value: int | None) -> str | None:
    return duration_text(value) if value else None


def _said_span(value: int | None) -> str | None:
    return None if value is None else duration_text(value)


def not_zero(value: Any) -> Any:
    """Printed unless it is zero, which says nothing."""
    return None if value in _NOTHING else value


TEXT = Kind(STRING, one(NodeReader.text), "str")
SCALAR_TEXT = Kind(SCALAR, one(NodeReader.text), "str")
TEXTS = Kind(STRINGS, one(NodeReader.texts), "tuple[str, ...]")
NUMBERS_OR_TEXTS = Kind(ListOf(NUMBER), one(NodeReader.texts), "tuple[str, ...]")
ONE_OR_MORE = Kind(
    STRING_OR_LIST, one(NodeReader.texts), "tuple[str, ...]", form=Form(forms.as_list)
)
FLAG = Kind(BOOLEAN, one(NodeReader.boolean), "bool")
SHOWN_WHEN_ON = FLAG.printed(not_zero)
INTEGER = Kind(NUMBER, one(NodeReader.integer), "int")
FLOAT = Kind(NUMBER, one(NodeReader.number), "float")
SIZE = Kind(NUMBER, one(NodeReader.size), "int")
SWAP = Kind(NUMBER, one(_swap), "int")
SPAN = Kind(STRING, one(NodeReader.duration), "int", _span)
"""A duration of which zero says nothing."""
SAID_SPAN = Kind(STRING, one(NodeReader.duration), "int", _said_span)
PAIRS = Kind(LIST_OR_MAP, one(NodeReader.strings), "Mapping[str, str]", form=Form(forms.pairs))
SORTED_PAIRS = PAIRS.printed(_sorted)
OPTIONS = Kind(MapOf(SCALAR), one(NodeReader.strings), "Mapping[str, str]")
UNREAD = Kind(ANYTHING, one(lambda cur: None), "None")


def unread(shape: Shape, form: Form = NO_FORM) -> Kind:
    """Of a shape that is checked; the value is kept in no field."""
    return Kind(shape, UNREAD.read, "None", form=form)
