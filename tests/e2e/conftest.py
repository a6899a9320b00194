"""Real daemons for end-to-end tests.

``daemon`` is shared by a module and has ``busybox:latest``; every test that uses it must leave it
without containers, and the fixture proves that it did. ``own_daemon`` makes one for a single test
that kills, restarts or fills it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.testing.clients import Shell
from sampan.testing.daemon import DaemonProcess, running_daemon, short_directory


@pytest.fixture(scope="session")
def sampan() -> str:
    """Path of the ``sampan`` command."""
    return str(Path(sys.executable).parent / "sampan")


@pytest.fixture(scope="session")
def busybox_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system that ``sampan image bootstrap busybox`` makes."""
    from sampan.client.bootstrap import busybox_tar as write

    path = tmp_path_factory.mktemp("busybox") / "busybox.tar"
    with path.open("wb") as out:
        write(out)
    return path


@pytest.fixture(scope="session")
def with_busybox(busybox_tar: Path) -> Callable[[DaemonProcess], None]:
    def load(daemon: DaemonProcess) -> None:
        Shell(daemon).docker("import", "--change", 'CMD ["sh"]', str(busybox_tar), "busybox:latest")

    return load


@pytest.fixture(scope="module")
def module_daemon(with_busybox: Callable[[DaemonProcess], None]) -> Iterator[DaemonProcess]:
    with short_directory() as base, running_daemon(Path(base) / "d") as daemon:
        with_busybox(daemon)
        yield daemon


@pytest.fixture
def daemon(module_daemon: DaemonProcess) -> Iterator[DaemonProcess]:
    yield module_daemon
    shell = Shell(module_daemon)
    if left := shell.docker("ps", "-aq").stdout.split():
        shell.docker("rm", "-fv", *left)
    assert module_daemon.settled() == {}, module_daemon.tail()


@pytest.fixture
def sh(daemon: DaemonProcess) -> Shell:
    return Shell(daemon)


@pytest.fixture
def own_daemon(with_busybox: Callable[[DaemonProcess], None]) -> Iterator[DaemonProcess]:
    """For tests that kill, restart or fill it."""
    with short_directory() as base, running_daemon(Path(base) / "d") as daemon:
        with_busybox(daemon)
        yield daemon
        if not daemon.answers():
            daemon.start()
        shell = Shell(daemon)
        if left := shell.docker("ps", "-aq").stdout.split():
            shell.docker("rm", "-fv", *left)
        assert daemon.settled() == {}, daemon.tail()
