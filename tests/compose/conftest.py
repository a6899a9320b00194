from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from sampan.compose.file.load import LoadRequest, load
from sampan.compose.model.project import Project
from sampan.compose.model.read_project import read
from sampan.compose.model.schema import TOP

Reader = Callable[..., Project]


@pytest.fixture
def project(tmp_path: Path) -> Reader:
    """Write a compose file (and others by name) and read it."""

    def make(text: str, *, profiles: tuple[str, ...] = (), env: dict[str, str] | None = None,
             **files: str) -> Project:  # fmt: skip
        (tmp_path / "compose.yaml").write_text(dedent(text))
        for name, content in files.items():
            (tmp_path / name.replace("__", ".")).write_text(dedent(content))
        loaded = load(LoadRequest(cwd=str(tmp_path), project="p"), env or {}, TOP)
        return read(loaded, profiles)

    return make
