"""What one node has been told, and the messages that lead from there to what is true now.

``collect`` looks only at what was marked. It is asked when the socket is ready for more, so a slow
node gets fewer and larger messages, and nothing queues up on its behalf.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Iterable, Mapping
from typing import TypeVar

from sampan.cluster.contract import ClusterStore
from sampan.cluster.dispatcher.index import AssignmentIndex
from sampan.cluster.manager_parts import Sealing
from sampan.cluster.model import State
from sampan.cluster.protocol.messages import Assignment, Assignments, Payload, ViewChange, encode
from sampan.cluster.records import ClusterNetwork, Task, TaskAttachment
from sampan.cluster.states import TaskState
from sampan.errors import SampanError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Outbox:
    def __init__(
        self, node_id: str, store: ClusterStore, index: AssignmentIndex, sealing: Sealing
    ) -> None:
        self._node_id, self._store, self._index, self._sealing = node_id, store, index, sealing
        self._first = True
        self._dirty: set[str] = set()
        self._records_dirty = False
        self._view_dirty = True
        self._ingress_dirty = True
        self._tasks: dict[str, tuple[TaskState, tuple[TaskAttachment, ...]]] = {}
        """What was sent of each task and may change."""
        self._networks: dict[str, int] = {}
        """Network id -> version of the record that was sent."""
        self._secrets: dict[str, int] = {}
        self._configs: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        """Network id -> number of the change up to which its table was sent."""

    # -- marks

    def mark_tasks(self, ids: Iterable[str]) -> None:
        self._dirty.update(ids)

    def mark_records(self) -> None:
        """A network's record changed."""
        self._records_dirty = True

    def mark_view(self, networks: Iterable[str], *, ingress: bool) -> bool:
        """Whether any of these networks is of concern here."""
        door = self._index.ingress()
        concerned = (
            ingress
            or any(id in self._seen or id in self._networks for id in networks)
            or bool(door and door not in self._seen)
        )
        self._view_dirty = self._view_dirty or concerned
        self._ingress_dirty = self._ingress_dirty or ingress
        return concerned

    def mark_all(self) -> None:
        """Marks were lost: compare everything."""
        self._dirty.update(self._tasks, self._store.state.tasks_on(self._node_id))
        self._records_dirty = self._view_dirty = self._ingress_dirty = True

    # -- messages

    def collect(self) -> list[bytes]:
        """Encoded messages, in the order in which they must go."""
        state = self._store.state
        assignments = self._assignments(state)
        messages = []
        # The view first: who starts a task finds its network's forwarding entries in place.
        if (view := self._view(state)) is not None:
            messages.append(encode(view))
        if assignments is not None:
            messages.append(encode(assignments))
        self._first = False
        return messages

    def _assignments(self, state: State) -> Assignments | None:
        first = self._first
        mine = state.tasks_on(self._node_id)
        dirty = set(mine) if first else self._dirty
        if not (first or dirty or self._records_dirty):
            return None
        self._dirty, self._records_dirty = set(), False
        tasks: list[Assignment] = []
        desired: dict[str, TaskState] = {}
        gone: list[str] = []
        for id in sorted(dirty):
            task = mine.get(id)
            if task is None or task.status.state < TaskState.ASSIGNED:
                if self._tasks.pop(id, None) is not None:
                    gone.append(id)
                continue
            before = self._tasks.get(id)
            now = (task.desired, task.attachments)
            if before == now:
                continue
            if before is not None and before[1] == now[1]:
                desired[id] = task.desired
            else:
                tasks.append(self._assignment(task, state))
            self._tasks[id] = now
        live = [
            task
            for id in self._tasks
            if (task := mine.get(id)) is not None
            and task.desired <= TaskState.RUNNING
            and not task.status.state.ended
        ]
        specs = [t.spec.container_spec for t in live if t.spec.container_spec is not None]
        secrets = {r.secret_id for spec in specs for r in spec.secrets}
        configs = {r.config_id for spec in specs for r in spec.configs}
        networks = {a.network_id for id in self._tasks if id in mine for a in mine[id].attachments}
        new_networks, networks_gone = _news(self._networks, networks, state.networks)
        new_secrets, secrets_gone = _news(self._secrets, secrets, state.secrets)
        new_configs, configs_gone = _news(self._configs, configs, state.configs)
        message = Assignments(
            full=first,
            tasks=tuple(tasks),
            desired=desired,
            gone=tuple(gone),
            networks=tuple(new_networks),
            networks_gone=networks_gone,
            secrets=tuple(
                Payload(
                    id=secret.id,
                    name=secret.spec.name,
                    data=data,
                    templating=secret.spec.templating,
                )
                for secret in new_secrets
                if (data := self._unsealed(secret.sealed, secret.id)) is not None
            ),
            secrets_gone=secrets_gone,
            configs=tuple(
                Payload(
                    id=config.id,
                    name=config.spec.name,
                    data=_decoded(config.spec.data),
                    templating=config.spec.templating,
                )
                for config in new_configs
            ),
            configs_gone=configs_gone,
        )
        if new_networks or networks_gone:
            self._view_dirty = True
        return None if message == Assignments() else message

    def _assignment(self, task: Task, state: State) -> Assignment:
        service = state.services.get(task.service_id)
        auth = ""
        if service is not None and service.sealed_auth and not task.status.state.ended:
            auth = (self._unsealed(service.sealed_auth, service.id) or b"").decode()
        return Assignment(
            id=task.id,
            service_id=task.service_id,
            service_name=task.service_name,
            service_labels=task.service_labels,
            slot=task.slot,
            node_id=task.node_id,
            spec=task.spec,
            endpoint=task.endpoint,
            attachments=task.attachments,
            generic_resources=task.generic_resources,
            desired=task.desired,
            observed=task.status.state,
            auth=auth,
        )

    def _unsealed(self, sealed: bytes, about: str) -> bytes | None:
        """None: it cannot be opened. One broken box must not cut the node off."""
        try:
            return self._sealing.unseal(sealed, about=about)
        except SampanError as error:
            log.error("what is sealed for %s cannot be opened: %s", about, error)
            return None

    def _view(self, state: State) -> ViewChange | None:
        first = self._first
        if not (first or self._view_dirty):
            return None
        self._view_dirty = False
        tables = self._index.tables
        wanted = {id for id in (*self._networks, self._index.ingress()) if id in tables}
        wanted = {id for id in wanted if tables[id].header is not None}
        deltas, gone = [], tuple(sorted(set(self._seen) - wanted))
        for id in gone:
            del self._seen[id]
        for id in sorted(wanted):
            table = tables[id]
            if self._seen.get(id) != table.seq:
                deltas.append(table.since(self._seen.get(id, -1)))
                self._seen[id] = table.seq
        ingress = self._index.ingress_nodes if first or self._ingress_dirty else None
        self._ingress_dirty = False
        if not (first or deltas or gone or ingress is not None):
            return None
        node = state.nodes.get(self._node_id)
        cluster = state.cluster
        return ViewChange(
            full=first,
            node_address=node.data_path_address if first and node is not None else "",
            vxlan_port=cluster.data_path_port if first and cluster is not None else 0,
            networks=tuple(deltas),
            networks_gone=gone,
            ingress_nodes=ingress,
        )


def _news(
    sent: dict[str, int], wanted: set[str], records: Mapping[str, T]
) -> tuple[list[T], tuple[str, ...]]:
    """Records to send and ids to take back; ``sent`` is brought up to date."""
    new: list[T] = []
    for id in sorted(wanted):
        record = records.get(id)
        if record is None:
            continue
        # A network's record is allocated after it was made; the others never change their content.
        version = record.version if isinstance(record, ClusterNetwork) else 1
        if sent.get(id) != version:
            sent[id] = version
            new.append(record)
    gone = tuple(sorted(id for id in sent if id not in wanted))
    for id in gone:
        del sent[id]
    return new, gone


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data)
    except binascii.Error:
        log.error("a config's data is not base64; its tasks get it as it is")
        return data.encode()
