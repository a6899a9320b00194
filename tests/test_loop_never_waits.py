"""What blocks says so in its docstring, and no coroutine calls it: it runs in a thread.

The watchdog sees a call that takes long, and only on a machine where it does; this sees every call.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from loop_calls import Source

SOURCE = Path(__file__).parent.parent / "src" / "sampan"
EXCUSED = {
    "sampan.network.overlay.tunnels.bridge_name": "of a module that blocks, and does not itself",
    "sampan.network.overlay.tunnels.Tunnels.mtu": "of a module that blocks, and does not itself",
    "sampan.network.overlay.tunnels.Tunnels.names": "of a module that blocks, and does not itself",
}
CALLS = {
    ("sampan.kernel.process.Child.wait", "reap"): "once the child has ended",
    ("sampan.cluster.etcd.process.EtcdProcess.start", "_spawn"): "by the thread it ends with",
    ("sampan.cluster.etcd.process.EtcdProcess._supervise", "_spawn"): "by the thread it ends with",
}


@pytest.fixture(scope="module")
def source() -> Source:
    return Source.of(SOURCE)


def test_no_coroutine_calls_what_blocks(source: Source) -> None:
    methods = {name for name in source.said if name.rpartition(".")[0] in source.classes}
    assert len(methods) > 40
    assert len(source.said - methods) > 20
    assert "sampan.runtime.oci_runtimes.command_line.CommandLineRuntime.executable" in methods
    found = {(c.caller, c.called.rpartition(".")[2]): c for c in source.waits(EXCUSED)}
    assert found.keys() == CALLS.keys(), found


@pytest.mark.parametrize("name", EXCUSED)
def test_every_excuse_is_needed(source: Source, name: str) -> None:
    assert len(source.waits(EXCUSED.keys() - {name})) > len(source.waits(EXCUSED))


def waits(**modules: str) -> list[tuple[str, int, str]]:
    source = Source({f"sampan.{name}": ast.parse(text) for name, text in modules.items()})
    return sorted((call.caller, call.line, call.called) for call in source.waits())


def test_a_call_is_seen() -> None:
    found = waits(
        a='def read() -> str:\n    """Reads. Blocks."""\n',
        b=(
            "from sampan import a\nfrom sampan.a import read\n"
            "def helper() -> None:\n    read()\n"
            "async def one() -> None:\n    read()\n    a.read()\n    await in_thread(read)\n"
            "    await in_thread(lambda: a.read())\n    helper()\n"
        ),
    )
    assert found == [
        ("sampan.b.one", 6, "sampan.a.read"),
        ("sampan.b.one", 7, "sampan.a.read"),
        ("sampan.b.one", 10, "sampan.b.helper"),
    ]


DISK = '''
class Disk(Protocol):
    def read(self) -> str:
        """Blocks."""
    def name(self) -> str:
        """Known."""

class RealDisk:
    """``Disk``: of this host."""
    def read(self) -> str:
        return ""

class Parts:
    disk: Disk
'''
READER = """
from sampan.disks import Disk, Parts, RealDisk

class Reader(Base):
    def __init__(self, disk: Disk | None, parts: "Parts") -> None:
        self._disk, self._parts = disk, parts
        self._own = RealDisk()

    async def field(self) -> None:
        self._disk.read()

    async def far(self) -> None:
        self._parts.disk.read()

    async def own(self) -> None:
        self._own.read()

    async def local(self) -> None:
        disk = self._disk
        disk.read()

    async def by_itself(self) -> None:
        self._look()

    async def inside(self) -> None:
        async def nested() -> None:
            self._disk.read()

    async def in_order(self) -> None:
        self._disk.name()
        await in_thread(self._disk.read)
        await in_thread(self._look)

    def _look(self) -> None:
        self._own.read()

async def given(disk: Disk) -> None:
    disk.read()
"""


def test_a_call_of_a_method_is_seen() -> None:
    protocol, real = "sampan.disks.Disk.read", "sampan.disks.RealDisk.read"
    found = {(caller, called) for caller, _, called in waits(disks=DISK, reader=READER)}
    assert found == {
        ("sampan.reader.Reader.field", protocol),
        ("sampan.reader.Reader.far", protocol),
        ("sampan.reader.Reader.own", real),
        ("sampan.reader.Reader.local", protocol),
        ("sampan.reader.Reader.by_itself", "sampan.reader.Reader._look"),
        ("sampan.reader.Reader.nested", protocol),
        ("sampan.reader.given", protocol),
    }
