"""Rules about the files of the repository itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [REPOSITORY / name for name in listed.split("\0") if name]


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked():
        if path.is_file():
            data = path.read_bytes()
            if b"\0" not in data[:4096]:
                found.append((path, data.decode(errors="replace")))
    return found


def package_hosts() -> set[str]:
    """Hosts that this machine's own clients fetch packages from, asked of their settings."""
    hosts: set[str] = set()
    for sources in [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]:
        if sources.is_file():
            hosts |= set(re.findall(r"https?://([^/\s:]+)", sources.read_text()))
    return {host for host in hosts if "." in host} | {"files.python" + "hosted.org"}


def test_no_file_names_a_package_registry() -> None:
    # A lock or a script that names a mirror works at one desk only
    for path, text in texts():
        for host in package_hosts():
            assert host not in text, f"{path} names {host}"


def test_lock_files_hold_versions_and_hashes_only() -> None:
    for lock in REPOSITORY.glob("requirements*.lock"):
        for line in filter(None, lock.read_text().splitlines()):
            assert re.fullmatch(
                r"[a-z0-9.-]+==[^ ]+( ;.*)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|#.*", line
            ), f"{lock.name}: {line}"


def test_scripts_can_be_executed() -> None:
    for script in [*(REPOSITORY / "script").iterdir(), REPOSITORY / ".ci" / "run"]:
        if script.is_file() and script.suffix == "":
            assert script.stat().st_mode & 0o111, script


def test_design_pages_are_linked_from_their_index() -> None:
    index = (REPOSITORY / "docs" / "design" / "README.md").read_text()
    for page in (REPOSITORY / "docs" / "design").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, page.name


def test_no_two_test_modules_share_a_name() -> None:
    # pytest imports them by name alone: the second would stop the whole run
    names = [path.name for path in (REPOSITORY / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
