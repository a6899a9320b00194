"""What an agent remembers across restarts: its managers, its tasks, since when they run and how
they ended.

No secret, no config and no password is in it: what needs them waits for a manager. Losing the
newest change is harmless (containers tell what became of their tasks), a torn file is not: it is
replaced as a whole.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

import msgspec

from sampan.aio import in_thread
from sampan.cluster.protocol.messages import Assignment, NodeAddress
from sampan.cluster.records import ClusterNetwork, TaskStatus
from sampan.files import write_private

log = logging.getLogger(__name__)


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    managers: tuple[NodeAddress, ...] = ()
    tasks: tuple[Assignment, ...] = ()
    statuses: dict[str, TaskStatus] = {}
    networks: tuple[ClusterNetwork, ...] = ()


class AgentFiles(Protocol):
    async def load(self) -> Memory: ...
    async def save(self, memory: Memory) -> None: ...
    async def forget(self) -> None: ...


class DiskFiles:
    """``AgentFiles`` in one file, ``<directory>/agent.json``."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "agent.json"

    async def load(self) -> Memory:
        return await in_thread(self._load)

    async def save(self, memory: Memory) -> None:
        """Raises: OSError."""
        await in_thread(write_private, self._path, msgspec.json.encode(memory))

    async def forget(self) -> None:
        await in_thread(self._path.unlink, missing_ok=True)

    def _load(self) -> Memory:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Memory)
        except FileNotFoundError:
            return Memory()
        except msgspec.DecodeError as error:
            # Written by another version, or by hand. The managers know it all.
            log.error("%s cannot be read, its managers will tell again: %s", self._path, error)
            return Memory()
