"""The optional body of ``POST /commit``: settings that go before the container's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import msgspec
from msgspec import UNSET

from sampan.api.types.containers import ContainerConfig
from sampan.image.contract import ImageConfig


def image_config(base: ImageConfig, wanted: ContainerConfig) -> ImageConfig:
    """``base`` with every field that ``wanted`` says something of. Variables and labels are
    merged, ports and volumes added; the rest replaces."""
    fields: dict[str, Any] = {}
    for name in ("user", "working_dir", "stop_signal"):
        if (text := getattr(wanted, name)) and text is not UNSET:
            fields[name] = text
    for name in ("cmd", "entrypoint", "shell", "on_build"):
        if (words := getattr(wanted, name)) and words is not UNSET:
            fields[name] = (words,) if isinstance(words, str) else tuple(words)
    if wanted.env:
        known = dict(item.partition("=")[::2] for item in base.env)
        known.update(item.partition("=")[::2] for item in wanted.env)
        fields["env"] = tuple(f"{name}={value}" for name, value in known.items())
    if wanted.labels:
        fields["labels"] = {**base.labels, **wanted.labels}
    if isinstance(wanted.exposed_ports, dict):
        fields["exposed_ports"] = tuple(dict.fromkeys((*base.exposed_ports, *wanted.exposed_ports)))
    if wanted.volumes:
        fields["volumes"] = tuple(dict.fromkeys((*base.volumes, *wanted.volumes)))
    if isinstance(wanted.healthcheck, msgspec.Struct):
        check = cast(dict[str, object], msgspec.to_builtins(wanted.healthcheck))
        fields["healthcheck"] = check or base.healthcheck
    return replace(base, **fields)
