"""What a request to make, join or leave a cluster comes to, before anything is done."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from sampan.cluster.contract import Draft
from sampan.cluster.control.cluster import check_spec
from sampan.cluster.node import addresses
from sampan.cluster.node.addresses import HostAddress
from sampan.cluster.node.authority import availability_of
from sampan.cluster.node.contract import InitRequest, JoinRequest
from sampan.cluster.node.pools import check_pools
from sampan.cluster.node.state_dir import NodeRecord
from sampan.cluster.peer.address import host_of, join_port
from sampan.cluster.records import Cluster, ManagerPart, Node, NodeStatus, new_id
from sampan.cluster.spec import NodeSpec
from sampan.errors import InvalidArgument, Unsupported


def plan_init(
    request: InitRequest, of_host: Callable[[], list[HostAddress]]
) -> tuple[NodeRecord, Cluster, Node]:
    """The membership, and the cluster's first records; the root of trust is still missing. Looks
    at the host's addresses: blocks, briefly.

    Raises:
        InvalidArgument, NoAddress, Unsupported.
    """
    check_spec(request.spec)
    if request.auto_lock_managers:
        raise Unsupported("locking managers (autolock) is not supported")
    pools = check_pools(request.default_addr_pool, request.subnet_size)
    port = request.data_path_port or 4789
    if not 1024 <= port <= 49151:
        raise InvalidArgument(
            "invalid DataPathPort: the data path port must be between 1024 and 49151"
        )
    known = of_host()
    where = addresses.parse_listen(request.listen_addr, known)
    told = addresses.advertised(request.advertise_addr, where, known)
    data_path = addresses.data_path(request.data_path_addr, told, known, told)
    record = NodeRecord(
        node_id=new_id(),
        cluster_id=new_id(),
        role="manager",
        listen=str(where),
        advertise=told,
        data_path=data_path,
        data_path_port=port,
        managers=(told,),
        etcd_url=addresses.etcd_url(told),
    )
    cluster = Cluster(
        id=record.cluster_id,
        spec=request.spec,
        data_path_port=port,
        default_addr_pool=pools.pools,
        subnet_size=pools.size,
    )
    node = Node(
        id=record.node_id,
        spec=NodeSpec(role="manager", availability=availability_of(request.availability)),
        role="manager",
        manager=ManagerPart(address=told, etcd_url=record.etcd_url),
        address=told,
        data_path_address=data_path,
        status=NodeStatus(address=host_of(told)),
    )
    return record, cluster, node


def plan_join(
    request: JoinRequest, manager: str, of_host: Callable[[], list[HostAddress]]
) -> NodeRecord:
    """The membership, as far as this host decides it. Looks at its addresses and its way to
    ``manager``: blocks, briefly.

    Raises:
        InvalidArgument, NoAddress.
    """
    known = of_host()
    where = addresses.parse_listen(request.listen_addr, known)
    advertise = request.advertise_addr
    if not advertise and where.address == addresses.ANY:
        advertise = join_port(addresses.towards(manager), where.port)
    told = addresses.advertised(advertise, where, known)
    return NodeRecord(
        listen=str(where),
        advertise=told,
        data_path=addresses.data_path(request.data_path_addr, told, known, manager),
        managers=(manager,),
    )


def only_manager(draft: Draft, own: str) -> None:
    """After ``--force-new-cluster``: no other node remains a manager."""
    for node in draft.state.nodes.values():
        if node.id == own:
            if node.spec.role != "manager" or node.role != "manager":
                spec = replace(node.spec, role="manager")
                draft.put(replace(node, role="manager", spec=spec))
        elif "manager" in (node.role, node.spec.role):
            # Their members are out of the store; let back in they are workers.
            worker = replace(node.spec, role="worker")
            draft.put(replace(node, role="worker", manager=None, spec=worker))
