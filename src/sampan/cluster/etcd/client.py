"""A client of one etcd member, over its JSON gateway on a unix socket.

JSON instead of gRPC because it needs no second HTTP stack and no code generator: a put takes 0.7 ms
either way (the disk's fsync), and msgspec reads a thousand events in 5 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import IO, TypeVar

import aiohttp
import msgspec

from sampan.aio import in_thread, shielded
from sampan.cluster.etcd import wire
from sampan.cluster.etcd.failures import Compacted, NoAnswer, Unreachable, refused
from sampan.errors import Internal

T = TypeVar("T")

CALL_S = 4.0
"""Deadline of a call that does not say its own."""
PAGE = 2000
"""Keys a request while everything is read."""
DIGEST_BYTES = 32
EVERYTHING = b"\0"
"""As key and range end: all keys."""
_ENCODE = msgspec.json.Encoder().encode
_DECODERS: dict[object, msgspec.json.Decoder[object]] = {}


def _decode(data: bytes, kind: type[T]) -> T:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        # not strict: the gateway spells 64-bit numbers as strings
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind, strict=False)
    return decoder.decode(data)  # type: ignore[return-value]


class EtcdClient:
    """Calls to the member behind ``socket``. ``close`` it; usable from one event loop."""

    def __init__(self, socket: Path) -> None:
        self._directory = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        # Through the descriptor, because a socket's path may have 107 bytes only and the daemon's
        # root may be deeper than that.
        path = f"/proc/self/fd/{self._directory}/{socket.name}"
        self._session = aiohttp.ClientSession(
            "http://etcd",
            connector=aiohttp.UnixConnector(path, limit=0, force_close=False),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            read_bufsize=1 << 20,
        )

    async def close(self) -> None:
        await self._session.close()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def _check_open(self) -> None:
        if self._session.closed:
            raise Unreachable("the client of etcd was closed")

    async def call(
        self, path: str, request: wire.EtcdMessage, reply: type[T], *, deadline_s: float = CALL_S
    ) -> T:
        """One request, one reply.

        Raises:
            Unreachable, NoAnswer, LeaderUnknown: see ``failures``.
            others of ``failures``: etcd's own refusals.
        """
        self._check_open()
        try:
            async with asyncio.timeout(deadline_s):  # real time: a real process answers
                async with self._session.post(path, data=_ENCODE(request)) as response:
                    body = await response.read()
                    status = response.status
        except TimeoutError:
            raise NoAnswer(f"etcd did not answer {path} within {deadline_s:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"etcd takes no connections: {error}") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise NoAnswer(f"the connection to etcd broke: {error}") from error
        if status != 200:
            raise refused(_failure(body))
        return _decode(body, reply)

    async def _stream(
        self, path: str, request: wire.EtcdMessage, reply: type[T], *, silence_s: float | None
    ) -> AsyncGenerator[T, None]:
        """Lines of a streamed reply. ``silence_s``: the longest pause between two of them."""
        # has a leader: the stream ends when the member loses its quorum, instead of going quiet
        headers = {"Grpc-Metadata-hasleader": "true"}
        self._check_open()
        try:
            async with self._session.post(
                path,
                data=_ENCODE(request),
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=None, sock_read=silence_s),
            ) as response:
                if response.status != 200:
                    raise refused(_failure(await response.read()))
                rest: list[bytes] = []
                async for chunk in response.content.iter_any():
                    *lines, tail = chunk.split(b"\n")
                    for line in lines:
                        rest.append(line)
                        whole = b"".join(rest)
                        rest.clear()
                        if whole:
                            yield _line(whole, reply)
                    if tail:
                        rest.append(tail)
        except TimeoutError:
            raise NoAnswer(f"etcd went quiet on {path}") from None
        except aiohttp.ClientConnectorError as error:
            raise Unreachable(f"etcd takes no connections: {error}") from error
        except (aiohttp.ClientError, ConnectionError) as error:
            raise NoAnswer(f"the connection to etcd broke: {error}") from error

    # -- keys

    async def range(self, request: wire.Range, *, deadline_s: float = CALL_S) -> wire.RangeReply:
        """Keys and values; linearizable unless ``serializable``."""
        return await self.call("/v3/kv/range", request, wire.RangeReply, deadline_s=deadline_s)

    async def everything(self) -> wire.RangeReply:
        """Every key at one revision (``header.revision``), in pages."""
        found: list[wire.KeyValue] = []
        key, revision = EVERYTHING, 0
        while True:
            page = await self.range(
                wire.Range(key, EVERYTHING, PAGE, revision),
                deadline_s=30.0 if revision else CALL_S,
            )
            revision = revision or page.header.revision
            found += page.kvs
            if not page.more:
                return wire.RangeReply(wire.Header(page.header.member_id, revision), found)
            key = page.kvs[-1].key + b"\0"

    async def txn(self, request: wire.Txn, *, deadline_s: float = CALL_S) -> wire.TxnReply:
        return await self.call("/v3/kv/txn", request, wire.TxnReply, deadline_s=deadline_s)

    async def put(self, key: bytes, value: bytes, *, lease: int = 0) -> int:
        """The revision."""
        reply = await self.call("/v3/kv/put", wire.Put(key, value, lease), wire.Reply)
        return reply.header.revision

    async def watch(self, start_revision: int) -> AsyncGenerator[wire.WatchReply, None]:
        """Every change from ``start_revision`` on, whole revisions at a time. First an empty reply
        (``created``). It never ends by itself.

        Raises:
            Compacted: that revision is gone.
            LeaderUnknown: the member lost its quorum.
            Unreachable, NoAnswer: the member went away.
        """
        create = wire.WatchCreate(EVERYTHING, EVERYTHING, start_revision)
        lines = self._stream(
            "/v3/watch", wire.WatchRequest(create), wire.WatchReply, silence_s=None
        )
        async with contextlib.aclosing(lines) as replies:
            async for reply in replies:
                if reply.canceled:
                    if reply.compact_revision:
                        raise Compacted("the revision was compacted", reply.compact_revision)
                    raise refused(wire.Failure(reply.cancel_reason, code=14))
                yield reply
        raise NoAnswer("etcd ended the watch")

    # -- leases

    async def lease_grant(self, ttl_s: int, *, deadline_s: float = CALL_S) -> int:
        """A lease's id. It ends ``ttl_s`` (>= 1, whole seconds) after the last ``keepalive``."""
        reply = await self.call(
            "/v3/lease/grant", wire.LeaseGrant(ttl_s), wire.LeaseReply, deadline_s=deadline_s
        )
        return reply.ID

    async def lease_keepalive(self, lease: int, *, deadline_s: float = 1.0) -> int:
        """Seconds that it lives on.

        Raises:
            LeaseGone: it has ended.
        """
        reply = await self.call(
            "/v3/lease/keepalive",
            wire.LeaseId(lease),
            wire.Streamed[wire.LeaseReply],
            deadline_s=deadline_s,
        )
        if reply.error is not None:
            raise refused(wire.Failure(reply.error.message, code=reply.error.grpc_code))
        if reply.result is None or reply.result.TTL <= 0:
            raise refused(wire.Failure("etcdserver: requested lease not found", code=5))
        return reply.result.TTL

    async def lease_revoke(self, lease: int, *, deadline_s: float = 1.0) -> None:
        """End it now; its keys go."""
        await self.call("/v3/lease/revoke", wire.LeaseId(lease), wire.Reply, deadline_s=deadline_s)

    # -- the member and its cluster

    async def status(self, *, deadline_s: float = 1.0) -> wire.StatusReply:
        """This member's own view; needs no quorum."""
        return await self.call(
            "/v3/maintenance/status", wire.Nothing(), wire.StatusReply, deadline_s=deadline_s
        )

    async def defragment(self) -> None:
        """Give the file's free pages back to the disk. The member answers nobody meanwhile."""
        await self.call("/v3/maintenance/defragment", wire.Nothing(), wire.Reply, deadline_s=60.0)

    async def move_leader(self, member: int) -> None:
        """Only this cluster's leader can do it."""
        await self.call("/v3/maintenance/transfer-leadership", wire.MoveLeader(member), wire.Reply)

    async def members(self) -> list[wire.EtcdMember]:
        """As this member knows them; needs no quorum."""
        reply = await self.call("/v3/cluster/member/list", wire.Nothing(), wire.MembersReply)
        return reply.members

    async def member_add(self, peer_url: str, *, learner: bool = True) -> wire.MembersReply:
        """The new member (``member``) and all (``members``).

        Raises:
            MemberExists: one has that URL.
            QuorumAtRisk: a learner is there already, or members are down.
        """
        return await self.call(
            "/v3/cluster/member/add", wire.MemberAdd([peer_url], learner), wire.MembersReply
        )

    async def member_promote(self, member: int) -> None:
        """Raises:
        MemberNotReady: it has not caught up.
        NoSuchMember: there is none.
        """
        await self.call("/v3/cluster/member/promote", wire.LeaseId(member), wire.MembersReply)

    async def member_remove(self, member: int) -> None:
        await self.call("/v3/cluster/member/remove", wire.LeaseId(member), wire.MembersReply)

    async def snapshot(self, target: Path) -> int:
        """Write the whole database to ``target``, durable and checked, or leave it as it was.

        Returns:
            The file's size in bytes.

        Raises:
            Internal: what arrived does not match its digest.
        """
        part = target.with_name(f".{target.name}.part")
        lines = self._stream(
            "/v3/maintenance/snapshot", wire.Nothing(), wire.SnapshotReply, silence_s=10.0
        )
        try:
            # To its end when cancelled too: made after that, the file would stay.
            with await shielded(in_thread(_create, part)) as file:
                async with contextlib.aclosing(lines) as replies:
                    async for reply in replies:
                        await in_thread(file.write, reply.blob)
                size = file.tell()
                await in_thread(_flush, file)
            if not await in_thread(snapshot_is_whole, part):
                raise Internal("the snapshot that etcd sent does not match its digest")
            await in_thread(part.rename, target)
        finally:
            await shielded(in_thread(part.unlink, missing_ok=True))
        return size


def snapshot_is_whole(file: Path) -> bool:
    """etcd puts the SHA-256 of the database behind it. Blocks."""
    data = file.read_bytes()
    body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
    return len(body) % 512 == 0 and bool(body) and hashlib.sha256(body).digest() == digest


def _create(part: Path) -> IO[bytes]:
    """Blocks."""
    return open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _flush(file: IO[bytes]) -> None:
    """Blocks. The buffer first: it holds the end of what is to be durable."""
    file.flush()
    os.fsync(file.fileno())


def _failure(body: bytes) -> wire.Failure:
    try:
        return _decode(body, wire.Failure)
    except msgspec.MsgspecError:
        return wire.Failure(body[:200].decode("utf-8", "replace"))


def _line(line: bytes, kind: type[T]) -> T:
    reply: wire.Streamed[T] = _decode(line, wire.Streamed[kind])  # type: ignore[valid-type]
    if reply.error is not None:
        raise refused(wire.Failure(reply.error.message, code=reply.error.grpc_code))
    if reply.result is None:
        raise Internal("etcd sent an empty line")
    return reply.result
