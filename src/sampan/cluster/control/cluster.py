"""The cluster itself: its specification, its join secrets, its root of trust."""

from __future__ import annotations

from msgspec import structs

from sampan.cluster.ca.contract import LIFETIME_S, SHORTEST_LIFETIME_S
from sampan.cluster.ca.tokens import new_secret
from sampan.cluster.contract import Draft, NoSuchObject
from sampan.cluster.errors import NotDone, Refused
from sampan.cluster.find import at_version
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.model import State
from sampan.cluster.records import Cluster
from sampan.cluster.spec import DispatcherConfig, RaftConfig, SwarmSpec

_S = 1_000_000_000
NODE_CERT_EXPIRY_NS = LIFETIME_S * _S
HEARTBEAT_NS = 5 * _S
TASK_HISTORY = 5
"""What the API shows where nothing was chosen. The heartbeat is chosen by the number of nodes
then; a client that sends this back has not chosen it either."""


def the_cluster(state: State) -> Cluster:
    """Raises: NoSuchObject (before it was made)."""
    if state.cluster is None:
        raise NoSuchObject("swarm", "default")
    return state.cluster


def normal(spec: SwarmSpec, now: SwarmSpec | None = None) -> SwarmSpec:
    """``spec`` as it is stored: clients write zero where they mean "as it is by default"."""
    raft, default = spec.raft, RaftConfig()
    heartbeat = spec.dispatcher.heartbeat_period
    if heartbeat == HEARTBEAT_NS and now is not None and not now.dispatcher.heartbeat_period:
        heartbeat = 0
    return structs.replace(
        spec,
        name=spec.name or "default",
        raft=structs.replace(
            raft,
            snapshot_interval=raft.snapshot_interval or default.snapshot_interval,
            log_entries_for_slow_followers=raft.log_entries_for_slow_followers
            or default.log_entries_for_slow_followers,
            election_tick=raft.election_tick or default.election_tick,
            heartbeat_tick=raft.heartbeat_tick or default.heartbeat_tick,
        ),
        dispatcher=DispatcherConfig(heartbeat_period=heartbeat),
    )


def check_spec(spec: SwarmSpec) -> None:
    """Of ``init`` and of ``update``.

    Raises:
        Refused, NotDone.
    """
    if spec.name not in ("", "default"):
        raise Refused("modification of cluster name is not allowed")
    retention = spec.orchestration.task_history_retention_limit
    if retention is not None and retention < 0:
        raise Refused("task history retention limit cannot be negative")
    if spec.dispatcher.heartbeat_period < 0:
        raise Refused("heartbeat time period cannot be a negative duration")
    ca = spec.ca_config
    if ca.node_cert_expiry and ca.node_cert_expiry < SHORTEST_LIFETIME_S * _S:
        raise Refused("minimum certificate expiry time is: 1h0m0s")
    if ca.external_cas:
        raise NotDone("external CAs: certificates are issued by the cluster's own CA")
    if ca.signing_ca_cert or ca.signing_ca_key:
        raise NotDone(
            "a CA certificate or key of one's own: rotate without one, and the cluster makes it"
        )
    if spec.encryption_config.auto_lock_managers:
        raise NotDone("locking managers (autolock) is not supported")


async def update(
    parts: ManagerParts,
    version: int,
    spec: SwarmSpec,
    *,
    rotate_worker_token: bool = False,
    rotate_manager_token: bool = False,
    rotate_unlock_key: bool = False,
) -> Cluster:
    """Change the specification; new join secrets where asked for. A higher
    ``ca_config.force_rotate`` asks for a new root: the leader's CA acts on it.

    Raises:
        OutOfSequence, Refused, NotDone.
    """
    check_spec(spec)
    if rotate_unlock_key:
        raise NotDone("locking managers (autolock) is not supported: there is no key to rotate")
    # Made out here: a draft may run several times.
    worker, manager = new_secret(), new_secret()

    def draft(draft: Draft) -> Cluster:
        cluster = the_cluster(draft.state)
        at_version(draft.state, cluster, version)
        if spec.ca_config.force_rotate < cluster.spec.ca_config.force_rotate:
            raise Refused("ForceRotate of the CA's configuration cannot go back")
        cluster = structs.replace(
            cluster,
            edits=cluster.edits + 1,
            spec=normal(spec, cluster.spec),
            worker_secret=worker if rotate_worker_token else cluster.worker_secret,
            manager_secret=manager if rotate_manager_token else cluster.manager_secret,
        )
        draft.put(cluster)
        return cluster

    return await parts.store.update(draft)
