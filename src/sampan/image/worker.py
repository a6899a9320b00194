"""The worker process: unpacks, packs and assembles layers, one job after another.

It speaks the frames of ``sampan.image.worker_frames``; the kinds of its failures are "tar", "full"
and "os". A job changes the process's root
directory and comes back through an open descriptor, so one worker serves many layers: starting
Python costs 25 ms, a small layer 2.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from isal import isal_zlib

from sampan.image.pack import pack, usage
from sampan.image.tar import BadTar, ByteSource
from sampan.image.tar_split import TarSplitWriter, assemble
from sampan.image.unpack import Unpacker
from sampan.image.worker_frames import Channel, channel_of_this_process

_DEPTH = 8
"""Chunks decompressed ahead of the file writer."""
_OUT = 1 << 20


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    def decompress(self, data: bytes) -> bytes: ...


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def ahead(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Run ``chunks`` in a thread, a few ahead: inflating and hashing release the GIL."""
    lane: queue.Queue[bytes | _Failure | None] = queue.Queue(_DEPTH)
    stopped = threading.Event()

    def run() -> None:
        try:
            for chunk in chunks:
                lane.put(chunk)
                if stopped.is_set():
                    break
            lane.put(None)
        except Exception as error:  # noqa: BLE001 - carried over to the reading thread
            lane.put(_Failure(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while (item := lane.get()) is not None:
            if isinstance(item, _Failure):
                raise item.error
            yield item
    finally:
        stopped.set()
        while thread.is_alive():
            try:
                lane.get(timeout=0.05)
            except queue.Empty:
                continue


def inflate(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Undo whatever compression the first bytes show (none, gzip, zstd, bzip2, xz).

    Not a generator itself: what it must import, it imports now, before any chroot.

    Raises:
        BadTar: broken, or a compression that this host cannot undo.
    """
    first = _beginning(chunks)
    if first[:2] == b"\x1f\x8b":
        return _gunzip(first, chunks)
    if first[:4] == b"\x28\xb5\x2f\xfd":
        return _inflated_by(_zstd(), first, chunks)
    if first[:3] == b"BZh":
        from bz2 import BZ2Decompressor

        return _inflated_by(BZ2Decompressor(), first, chunks)
    if first[:6] == b"\xfd7zXZ\x00":
        from lzma import LZMADecompressor

        return _inflated_by(LZMADecompressor(), first, chunks)
    return itertools.chain((first,), chunks)


def _beginning(chunks: Iterator[bytes]) -> bytes:
    """Enough bytes to tell a compression."""
    first = next(chunks, b"")
    while len(first) < 6 and (more := next(chunks, b"")):
        first += more
    return first


def _is_plain(first: bytes) -> bool:
    magics = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\x00")
    return not first.startswith(magics)


def _gunzip(chunk: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    unzip = isal_zlib.decompressobj(wbits=31)
    try:
        while chunk:
            data = unzip.decompress(chunk, _OUT)
            if data:
                yield data
            if unzip.eof:
                # Members may follow each other (pigz, stargz); other trailing bytes may not.
                chunk = unzip.unused_data or next(chunks, b"")
                if not chunk.strip(b"\0"):
                    continue
                unzip = isal_zlib.decompressobj(wbits=31)
            else:
                chunk = unzip.unconsumed_tail or (b"" if data else next(chunks, b""))
                while not chunk and (data := unzip.decompress(b"", _OUT)):
                    yield data
                chunk = chunk or next(chunks, b"")
    except isal_zlib.error as error:  # type: ignore[misc]
        raise BadTar(f"invalid gzip data: {error}") from error
    if not unzip.eof:
        raise BadTar("unexpected EOF: the gzip stream is cut short")


def _zstd() -> _Decompressor:
    try:
        import zstandard  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise BadTar(
            "this layer is compressed with zstd, which needs the Python package zstandard "
            "(Debian: python3-zstandard) beside the daemon"
        ) from None
    made: _Decompressor = zstandard.ZstdDecompressor().decompressobj()
    return made


def _inflated_by(unzip: _Decompressor, chunk: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    try:
        while chunk and not unzip.eof:
            yield unzip.decompress(chunk)
            chunk = next(chunks, b"")
    except Exception as error:  # each library has its own class for broken data
        raise BadTar(f"invalid compressed data: {error}") from error


class LayerWorker:
    """Serves jobs of ``channel`` until they end."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._root = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def serve(self) -> None:
        jobs: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "unpack": self._unpack,
            "assemble": self._assemble,
            "pack": self._pack,
        }
        for job in self._channel.jobs():
            try:
                self._channel.done(jobs[job["job"]](job))
            except BadTar as error:
                self._channel.fail("tar", str(error))
            except OSError as error:
                full = error.errno in (errno.ENOSPC, errno.EDQUOT)
                self._channel.fail("full" if full else "os", str(error))

    def _unpack(self, job: dict[str, Any]) -> dict[str, Any]:
        outer, inner = hashlib.sha256(), hashlib.sha256()
        counts = [0, 0]
        chunks = (
            self._channel.data()
            if job.get("stream")
            else _file(job["path"], job["offset"], job["size"])
        )

        def counted(index: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
            total = (outer, inner)[index]
            for chunk in chunks:
                total.update(chunk)
                counts[index] += len(chunk)
                yield chunk

        tar_split = TarSplitWriter(job["recipe"])
        try:
            first = _beginning(chunks)
            # Hashing is the dearest part of unpacking: not twice the same bytes.
            plain = _is_plain(first)
            chunks = itertools.chain((first,), chunks)
            packed = chunks if plain else counted(0, chunks)
            inflated = inflate(packed)
            os.chroot(job["target"])
            os.chdir("/")
            unpacker = Unpacker(ByteSource(counted(1, ahead(inflated))), tar_split.record)
            unpacker.run()
            for _ in packed:  # what follows the compressed stream still counts for its digest
                pass
            tar_split.finish(counts[1])
        finally:
            self._home()
            tar_split.close()
        return {
            "digest": f"sha256:{(inner if plain else outer).hexdigest()}",
            "diff_id": f"sha256:{inner.hexdigest()}",
            "blob_bytes": counts[1] if plain else counts[0],
            "tar_bytes": counts[1],
            "size": unpacker.size,
        }

    def _assemble(self, job: dict[str, Any]) -> dict[str, Any]:
        total = hashlib.sha256()
        tar_split = os.open(job["recipe"], os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.chroot(job["target"])
            os.chdir("/")
            self._stream(assemble(tar_split, _open_inside), total)
        finally:
            self._home()
            os.close(tar_split)
        return {"diff_id": f"sha256:{total.hexdigest()}"}

    def _pack(self, job: dict[str, Any]) -> dict[str, Any]:
        total = hashlib.sha256()
        if not job.get("recipe"):
            skip = frozenset(os.fsencode(name) for name in job.get("skip", ()))
            self._stream(pack(job["target"], skip=skip), total)
            return {"diff_id": f"sha256:{total.hexdigest()}"}
        return pack_to_tar_split(job["target"], job["recipe"])

    def _stream(self, chunks: Iterator[bytes], total: Any) -> None:
        def summed() -> Iterator[bytes]:
            for chunk in chunks:
                total.update(chunk)
                yield chunk

        self._channel.stream(summed())

    def _home(self) -> None:
        os.fchdir(self._root)
        os.chroot(".")


def pack_to_tar_split(target: str, tar_split: str) -> dict[str, Any]:
    """Digest the layer that the directory ``target`` is, and write its recipe."""
    total = hashlib.sha256()
    count = 0
    writer = TarSplitWriter(tar_split)
    try:
        for chunk in pack(target, writer.record):
            total.update(chunk)
            count += len(chunk)
        writer.finish(count)
    finally:
        writer.close()
    return {"diff_id": f"sha256:{total.hexdigest()}", "tar_bytes": count, "size": usage(target)}


def _open_inside(path: bytes) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)


def _file(path: str, offset: int, size: int) -> Iterator[bytes]:
    # Opened now, not at the first read: by then the path leads nowhere.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.lseek(fd, offset, os.SEEK_SET)
    return _slice(fd, size)


def _slice(fd: int, size: int) -> Iterator[bytes]:
    try:
        while size and (chunk := os.read(fd, min(size, 1 << 18))):
            size -= len(chunk)
            yield chunk
    finally:
        os.close(fd)


def main() -> None:
    LayerWorker(channel_of_this_process()).serve()


if __name__ == "__main__":
    main()
