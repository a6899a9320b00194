"""Placeholders in a task's hostname, environment, mounts and templated configs.

The subset of Go's templates that Docker documents for services: ``{{.Node.Hostname}}`` and its
like, ``{{index .Service.Labels "key"}}``, and in configs and secrets also ``{{env "NAME"}}``,
``{{config "target"}}`` and ``{{secret "target"}}``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sampan.errors import InvalidArgument

_ACTION = re.compile(r"\{\{-?\s*(.*?)\s*-?\}\}", re.DOTALL)
_CALL = re.compile(r'(\w+)\s+"((?:[^"\\]|\\.)*)"')
_INDEX = re.compile(r'index\s+\.Service\.Labels\s+"((?:[^"\\]|\\.)*)"')


class TemplateError(InvalidArgument):
    """A placeholder that stands for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceholderValues:
    """What placeholders stand for."""

    service_id: str = ""
    service_name: str = ""
    service_labels: Mapping[str, str] = field(default_factory=dict)
    node_id: str = ""
    node_hostname: str = ""
    node_os: str = ""
    node_architecture: str = ""
    task_id: str = ""
    task_name: str = ""
    task_slot: str = ""

    def value(self, path: str) -> str | None:
        """Of ``.Service.Name`` and its like; None: there is no such thing."""
        match path:
            case ".Service.ID":
                return self.service_id
            case ".Service.Name":
                return self.service_name
            case ".Node.ID":
                return self.node_id
            case ".Node.Hostname":
                return self.node_hostname
            case ".Node.Platform.OS":
                return self.node_os
            case ".Node.Platform.Architecture":
                return self.node_architecture
            case ".Task.ID":
                return self.task_id
            case ".Task.Name":
                return self.task_name
            case ".Task.Slot":
                return self.task_slot
        if path.startswith(".Service.Labels."):
            return self.service_labels.get(path.removeprefix(".Service.Labels."), "")
        return None


Function = Callable[[str], str]


def expand(
    text: str, names: PlaceholderValues, functions: Mapping[str, Function] | None = None
) -> str:
    """``text`` with every placeholder replaced.

    Args:
        functions: what ``{{NAME "argument"}}`` calls.

    Raises:
        TemplateError: a placeholder that stands for nothing.
    """
    if "{{" not in text:
        return text

    def replace(match: re.Match[str]) -> str:
        action = match[1]
        if (value := names.value(action)) is not None:
            return value
        if found := _INDEX.fullmatch(action):
            return names.service_labels.get(found[1], "")
        call = _CALL.fullmatch(action)
        if call and functions and call[1] in functions:
            return functions[call[1]](call[2])
        raise TemplateError(f"expanding {text!r} failed: {_nothing(action)}")

    return _ACTION.sub(replace, text)


def check(text: str) -> None:
    """Whether ``text`` can be expanded once there is a task to expand it for.

    Raises:
        TemplateError: why not, in the words of Go's templates where there are some.
    """
    if "{{" not in text:
        return
    for match in _ACTION.finditer(text):
        if PlaceholderValues().value(match[1]) is None and not _INDEX.fullmatch(match[1]):
            raise TemplateError(f"template: expansion:1: {_nothing(match[1])}")
    if "{{" in _ACTION.sub("", text):
        raise TemplateError("template: expansion:1: unclosed action: each {{ needs its }}")


def _nothing(action: str) -> str:
    return (
        f"{{{{{action}}}}} stands for nothing; there are .Service (ID, Name, Labels), .Node (ID, "
        "Hostname, Platform) and .Task (ID, Name, Slot)"
    )
