"""A worker's way to being a manager, up to where its store's process can be started."""

from __future__ import annotations

from msgspec.structs import replace

from sampan.aio import in_thread
from sampan.cluster.ca.secretbox import save_key
from sampan.cluster.node import addresses
from sampan.cluster.node.member import Member
from sampan.cluster.node.members import JOIN_PATH, JoinedMember, JoinMember
from sampan.cluster.node.state_dir import NodeDirectory, NodeRecord
from sampan.cluster.peer.address import host_of
from sampan.errors import SampanError, Unavailable

JOIN_S = 30.0
"""Another manager may be joining at the same time, and the store takes one after the other."""


async def ask_to_manage(member: Member, record: NodeRecord, state_dir: NodeDirectory) -> NodeRecord:
    """Certificates of a manager, the cluster's key, a place among the store's members. Returns the
    record to start with, of what ``record`` (the membership as it is by now) says.

    Raises:
        SampanError: what the last manager that was asked said. All of it may be repeated.
    """
    url = addresses.etcd_url(record.advertise)
    managers = [address for _, address in member.managers] or list(record.managers)
    host = host_of(record.advertise)
    # The certificate first: who asks for the key and for membership must be a manager by it.
    member.tls.reload(await member.certificates.renew(managers, etcd_addresses=(host,)))
    refused: SampanError = Unavailable("no manager is known")
    for address in managers:
        try:
            key = await member.certificates.cluster_key(address)
            joined = await member.client.call(
                address, JOIN_PATH, JoinMember(etcd_url=url), JoinedMember, timeout_s=JOIN_S
            )
            break
        except SampanError as error:
            refused = error
    else:
        raise refused
    await in_thread(state_dir.forget_store)
    await in_thread(save_key, state_dir.key, key)
    return replace(
        record, role="manager", etcd_url=url, initial=joined.initial, managers=tuple(managers)
    )
