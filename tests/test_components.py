"""The table of what sampan uses of the host, and who must agree with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sampan import components
from sampan.components import COMPONENTS, INIT, LIBSECCOMP, Command, Component, File
from sampan.errors import Unsupported

REPOSITORY = Path(__file__).parent.parent
LANGUAGE = {"python3", "python3-venv"}


def installed_by_setup() -> tuple[set[str], set[str]]:
    """Packages that ``script/setup`` installs, without and with ``--test``."""
    text = (REPOSITORY / "script" / "setup").read_text()
    plain, tests = (
        set(found.split()) for found in re.findall(r'^ *packages="([^"]*)"', text, re.M)
    )
    asked = set(re.findall(r'packages="\$packages (\S+)"$', text, re.M))
    return plain, (tests | asked) - {"$packages"}


def rows(heading: str) -> set[str]:
    """Packages with a line under a heading of the page of dependencies."""
    page = (REPOSITORY / "docs" / "design" / "dependencies.md").read_text()
    section = page.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found = re.findall(r"^\| ([a-z0-9, .-]+) \|", section, re.M)
    return {name for row in found for name in row.split(", ")}


def test_setup_installs_every_component() -> None:
    plain, _ = installed_by_setup()
    assert {component.package for component in COMPONENTS} <= plain


def test_each_package_of_setup_has_its_reason_and_each_reason_its_package() -> None:
    plain, tests = installed_by_setup()
    assert rows("Programs and libraries of the host") == plain
    # What has a reason in the product is not said a second time
    assert rows("For development only") - plain == tests


def test_names_are_told_apart() -> None:
    names = [component.name for component in COMPONENTS]
    assert len(set(names)) == len(names)


def test_what_is_here_is_not_missing() -> None:
    """``script/setup`` has run, or these tests could not."""
    from sampan.kernel.libraries import loads

    assert components.missing(loads) == []


def test_a_missing_library_is_one_that_does_not_load() -> None:
    found = components.missing(lambda soname: soname != "libseccomp.so.2")
    assert found == [LIBSECCOMP]


@pytest.mark.parametrize("there", INIT.found_as.names if isinstance(INIT.found_as, Command) else ())
def test_any_of_the_names_will_do(
    there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert components.find(INIT) is None
    program = tmp_path / there
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert components.find(INIT) == program == components.require(INIT)


def test_whoever_needs_what_is_missing_is_told_what_to_install(tmp_path: Path) -> None:
    file = tmp_path / "profile"
    part = Component("profile", "nothing will work", "some-package", File(file))
    with pytest.raises(Unsupported, match=r"^no profile found: nothing will work; install some-pa"):
        components.require(part)
    file.touch()
    assert components.require(part) == file
