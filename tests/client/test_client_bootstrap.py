"""Root file systems for a first image."""

from __future__ import annotations

import io
import tarfile

import pytest

from sampan.client import bootstrap

MAIN = "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n"
OTHER = "Types: deb\nURIs: https://elsewhere/node\nSuites: nodistro\n"


def test_busybox_is_a_root_with_a_shell() -> None:
    out = io.BytesIO()
    bootstrap.busybox_tar(out)
    again = io.BytesIO()
    bootstrap.busybox_tar(again)
    assert out.getvalue() == again.getvalue()
    out.seek(0)
    with tarfile.open(fileobj=out) as tar:
        members = {member.name: member for member in tar}
    assert members["bin/sh"].linkname == "/bin/busybox"
    assert members["bin/busybox"].mode == 0o755
    assert members["tmp"].mode == 0o1777
    assert {"etc/passwd", "etc/group", "proc", "dev"} <= members.keys()


def test_sources_of_the_suite_are_kept_and_others_left() -> None:
    assert bootstrap.host_sources("bookworm", [OTHER, MAIN]) == [MAIN]


def test_another_suite_is_asked_of_the_main_archive() -> None:
    (found,) = bootstrap.host_sources("trixie", [OTHER, MAIN])
    assert "URIs: http://mirror/debian" in found
    assert "Suites: trixie\n" in found


def test_no_sources_no_guess() -> None:
    assert bootstrap.host_sources("bookworm", [OTHER]) == []


@pytest.mark.parametrize("suite", ["../x", "--help", "", "A"])
def test_a_suite_is_a_word(suite: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(bootstrap.BootstrapFailed):
        bootstrap.debian_tar(suite, tmp_path / "x.tar", print)


@pytest.mark.parametrize("package", ["--help", "a,b", "", "nginx light"])
def test_a_package_is_a_word(package: str, tmp_path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(bootstrap.BootstrapFailed, match="invalid package name"):
        bootstrap.debian_tar("bookworm", tmp_path / "x.tar", print, [package])


def test_changes_name_a_shell() -> None:
    assert 'CMD ["bash"]' in bootstrap.changes("debian")
    assert 'CMD ["sh"]' in bootstrap.changes("busybox")
