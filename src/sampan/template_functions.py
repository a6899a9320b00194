"""The functions that a ``--format`` template can call, and how values are shown. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class TemplateError(ValueError):
    """The template is malformed, or does not fit the value."""


class Missing:
    """A field that does not exist: false, and an error when it is shown."""

    __slots__ = ("name", "others")

    def __init__(self, name: str, others: list[str]) -> None:
        self.name = name
        self.others = others

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0


MISSING = Missing("", [])


def show(value: Any) -> str:
    """As Go's ``%v`` shows it. Raises TemplateError for a missing field."""
    if isinstance(value, str):
        return value
    if isinstance(value, Missing):
        if not value.name:
            return "<no value>"
        from difflib import get_close_matches

        near = get_close_matches(value.name, value.others, 1, 0.5)
        hint = f": did you mean {near[0]!r}?" if near else ""
        raise TemplateError(f"there is no field {value.name!r}{hint}")
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, dict):
        inner = " ".join(f"{key}:{_inside(item)}" for key, item in sorted(value.items()))
        return f"map[{inner}]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(_inside(item) for item in value) + "]"
    if callable(value):
        raise TemplateError("this field is a function: give it an argument")
    return str(value)


def _inside(value: Any) -> str:
    return "<nil>" if value is None else show(value)


def to_json(value: Any) -> str:
    """JSON on one line; rows leave their functions out."""
    from json import dumps

    if isinstance(value, Missing):
        value = None
    if isinstance(value, dict) and any(map(callable, value.values())):
        value = {key: item for key, item in value.items() if not callable(item)}
    return dumps(value, ensure_ascii=False, separators=(",", ":"))


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        if isinstance(value, dict):
            value = value.get(key, "")
        elif isinstance(value, (list, str)) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise TemplateError(f"error calling index: index out of range: {key}")
            value = value[key]
        else:
            raise TemplateError(f"error calling index: can't index with {show(key)}")
    return value


def _slice(value: Any, *bounds: int) -> Any:
    return value[bounds[0] if bounds else 0 : bounds[1] if len(bounds) > 1 else len(value)]


def _printf(form: str, *values: Any) -> str:
    import re

    left = list(values)

    def one(match: re.Match[str]) -> str:
        flags, verb = match[1], match[2]
        if verb == "%":
            return "%"
        if not left:
            return f"%!{verb}(MISSING)"
        value = left.pop(0)
        if verb == "q":
            return to_json(show(value))
        if verb in "dxXob":
            return format(int(value), _spec(flags, numeric=True) + verb)
        if verb in "feg":
            return format(float(value), _spec(flags, numeric=True) + verb)
        return format(show(value), _spec(flags, numeric=False))

    return re.sub(r"%([-+# 0]*\d*(?:\.\d+)?)([a-zA-Z%])", one, form)


def _spec(flags: str, *, numeric: bool) -> str:
    left = "-" in flags
    plain = flags.replace("-", "").replace("#", "").lstrip(" ")
    align = "<" if left else ">"
    if numeric and plain.startswith(("0", "+")) and not left:
        return plain
    return f"{align}{plain.lstrip('0+')}" if plain else ""


def _compare(test: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def run(first: Any, *others: Any) -> bool:
        if isinstance(first, Missing):
            show(first)
        return any(test(first, other) for other in others)

    return run


def _and(*values: Any) -> Any:
    return next((value for value in values if not value), values[-1])


def _or(*values: Any) -> Any:
    return next((value for value in values if value), values[-1])


def _truncate(text: str, length: int) -> str:
    return text[:length]


def _pad(text: str, before: int, after: int) -> str:
    return " " * before + text + " " * after if text else text


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": to_json,
    "index": _index,
    "slice": _slice,
    "len": len,
    "join": lambda items, between: between.join(show(item) for item in items or ()),
    "split": lambda text, between: text.split(between),
    "upper": lambda text: show(text).upper(),
    "lower": lambda text: show(text).lower(),
    "title": lambda text: show(text)[:1].upper() + show(text)[1:],
    "pad": _pad,
    "truncate": _truncate,
    "print": lambda *values: "".join(map(show, values)),
    "println": lambda *values: " ".join(map(show, values)) + "\n",
    "printf": _printf,
    "eq": _compare(lambda a, b: bool(a == b)),
    "ne": lambda a, b: a != b,
    "lt": _compare(lambda a, b: bool(a < b)),
    "le": _compare(lambda a, b: bool(a <= b)),
    "gt": _compare(lambda a, b: bool(a > b)),
    "ge": _compare(lambda a, b: bool(a >= b)),
    "and": _and,
    "or": _or,
    "not": lambda value: not value,
}
