"""What holds for the whole session: it works outside of the repository, and leaves nothing."""

from __future__ import annotations

import gc
import os
import select
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from sampan.testing.daemon import DaemonProcess
from sampan.testing.isolation import Session

LOOP_LIMIT_MS = 20
"""How long one callback may keep the event loop of a daemon."""
WAITS_FOR_THE_JOURNAL = ("sampan/store/redo.py", "sampan/runtime/files.py")
"""Where a daemon's loop writes into the page cache: a soak keeps the disk's journal busy, and these
wait for it. (On a host, the second writes to a tmpfs.)"""
SETTLES_WITHIN_S = 15.0
SESSION = pytest.StashKey[Session]()

# How fast an example is made or run is the machine's affair, and that of what else runs there.
settings.register_profile("sampan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sampan")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    worker = hasattr(config, "workerinput")
    if not worker and getattr(config.option, "numprocesses", None):
        return  # its workers run the tests
    session = config.stash[SESSION] = Session()
    session.begin()
    if worker or config.option.basetemp is None:
        config.option.basetemp = str(session.directory / "p")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python 3.11's parser fails with a SystemError, which ends the whole session, when the garbage
    collector comes in the middle of it and finds something whose complaint has a traceback: that
    is formatted with the parser, too."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, object, object]:
    with _no_collection():
        return (yield)


@pytest.fixture(autouse=True)
def nothing_is_collected_while_parsing(request: pytest.FixtureRequest) -> Iterator[None]:
    """In tests that parse sources themselves."""
    if not hasattr(getattr(request, "module", None), "ast"):
        yield
        return
    with _no_collection():
        yield


FIRST = (
    "e2e/test_hit_counter.py",  # these two make a root file system
    "e2e/cluster/test_article.py",
    "e2e/cluster/test_chaos.py",
    "e2e/cluster/",  # one after the other, since they share a cluster
    "test_watchdog.py",
    "cluster/simulation/",
    "engine/test_engine_real.py",
    "e2e/",
    "testing/",
    "network/overlay/",
    "cluster/",
)
"""What takes long, longest first."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long first, otherwise in the random order that there is: a file is one worker's,
    and the last one should not keep all the others waiting."""
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        name = item.path.relative_to(here).as_posix()
        return next((n for n, first in enumerate(FIRST) if name.startswith(first)), len(FIRST))

    items.sort(key=place)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    own = session.config.stash.get(SESSION, None)
    if own is not None:
        own.end(keep=exitstatus != pytest.ExitCode.OK)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(pytestconfig: pytest.Config) -> Iterator[None]:
    """Of this session: other daemons and other sessions may be at work on this machine."""
    session = pytestconfig.stash[SESSION]
    before = session.traces()
    yield
    deadline = time.monotonic() + SETTLES_WITHIN_S
    # the kernel takes namespaces apart, with what is in them, after their last process, unannounced
    while (left := session.traces() - before) and time.monotonic() < deadline:
        select.select([], [], [], 0.1)
    assert not left


@pytest.fixture(scope="session", autouse=True)
def loops_are_watched() -> None:
    """By every daemon that tests start."""
    DaemonProcess.loop_limit_ms = LOOP_LIMIT_MS


@pytest.fixture(autouse=True)
def no_loop_is_held_up(request: pytest.FixtureRequest) -> Iterator[None]:
    """What keeps a daemon's event loop fails the test in which it did."""
    yield
    reports = DaemonProcess.held_up()
    if request.node.get_closest_marker("soak") is not None:
        reports = [one for one in reports if not any(at in one for at in WAITS_FOR_THE_JOURNAL)]
    assert not reports, "\n".join(reports)


@pytest.fixture(scope="session", autouse=True)
def away_from_the_repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A monitor writes a file called ``oom`` into its working directory when memory runs out."""
    home = os.getcwd()
    os.chdir(tmp_path_factory.mktemp("away"))
    yield
    os.chdir(home)
