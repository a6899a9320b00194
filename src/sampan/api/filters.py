"""The ``filters`` parameter of every list: ``{"label": ["a=b"], ...}``.

Clients write the values as a list or, the old way, as an object of ``true``. Several values of one
key are alternatives (for labels: all must hold), several keys all must match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

from sampan.errors import InvalidArgument

_DECODER = msgspec.json.Decoder(dict[str, list[str] | dict[str, bool] | None])
_TRUE = frozenset(("1", "true", "True", "TRUE", "t", "T"))
_FALSE = frozenset(("0", "false", "False", "FALSE", "f", "F"))


class Filters(dict[str, tuple[str, ...]]):
    """Key -> values as given, in order."""

    @classmethod
    def parse(cls, written: str, known: Iterable[str]) -> Filters:
        """Read the parameter; ``known`` are the keys that this list understands.

        Raises:
            InvalidArgument: not JSON, or an unknown key.
        """
        filters = cls()
        if not written:
            return filters
        try:
            raw = _DECODER.decode(written)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"invalid filter: {written!r}: {error}") from error
        allowed = frozenset(known)
        for key, values in raw.items():
            if key not in allowed:
                raise InvalidArgument(f"invalid filter '{key}'")
            if isinstance(values, dict):
                values = [value for value, on in values.items() if on]
            if values:
                filters[key] = tuple(values)
        return filters

    def flag(self, key: str, default: bool = False) -> bool:
        """A yes or no.

        Raises:
            InvalidArgument: anything else, or both.
        """
        values = self.get(key)
        if not values:
            return default
        if len(values) == 1 and values[0] in _TRUE:
            return True
        if len(values) == 1 and values[0] in _FALSE:
            return False
        raise InvalidArgument(f"invalid filter '{key}={list(values)}'")

    def exact(self, key: str, value: str) -> bool:
        """No such filter, or one of its values is ``value``."""
        values = self.get(key)
        return not values or value in values

    def prefix(self, key: str, value: str) -> bool:
        """No such filter, or ``value`` starts with one of its values."""
        values = self.get(key)
        return not values or value.startswith(values)

    def pattern(self, key: str, *candidates: str) -> bool:
        """No such filter, or one of its values, a regular expression, is found in a candidate."""
        values = self.get(key)
        if not values:
            return True
        for value in values:
            try:
                compiled = re.compile(value)
            except re.error as error:
                raise InvalidArgument(f"invalid filter '{key}={value}': {error}") from error
            if any(compiled.search(candidate) for candidate in candidates):
                return True
        return False

    def labels(self, labels: Mapping[str, str], key: str = "label") -> bool:
        """Every ``name`` or ``name=value`` of the filter holds."""
        for wanted in self.get(key, ()):
            name, has_value, value = wanted.partition("=")
            if name not in labels or (has_value and labels[name] != value):
                return False
        return True

    def without_labels(self, labels: Mapping[str, str], key: str = "label!") -> bool:
        """None of the filter's labels holds."""
        return not any(
            name in labels and (not has_value or labels[name] == value)
            for name, has_value, value in (w.partition("=") for w in self.get(key, ()))
        )
