"""What a manager has and a worker lacks. Everyone above the store works with it: control, the
dispatcher, the CA, the fronts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sampan.cluster.contract import ClusterStore
from sampan.cluster.protocol.task_logs import TaskLogs


class Sealing(Protocol):
    """Encryption at rest with the cluster's key. ``about`` (an object's id) binds a box to it."""

    def seal(self, plain: bytes, *, about: str) -> bytes: ...
    def unseal(self, sealed: bytes, *, about: str) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ManagerParts:
    """What a manager has and a worker lacks; what ``cluster.control`` stands on."""

    node_id: str
    store: ClusterStore
    sealing: Sealing
    logs: TaskLogs | None = None
    """None: task logs cannot be read by this manager."""
