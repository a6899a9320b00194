"""The frames between the daemon and its workers, over pipes."""

from __future__ import annotations

import json
import os
import threading

import pytest

from sampan.image.tar import BadTar
from sampan.image.worker_frames import FRAME, Channel


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return FRAME.pack(kind, len(body)) + body


def channel(*sent: bytes) -> tuple[Channel, int]:
    """A worker's channel to which a daemon has sent ``sent`` and then ended; what it reads from."""
    source, feed = os.pipe()
    answers, sink = os.pipe()
    os.write(feed, b"".join(sent))
    os.close(feed)
    return Channel(source, sink), answers


def job(**fields: object) -> bytes:
    return frame(b"J", json.dumps(fields).encode())


def test_jobs_and_their_data() -> None:
    worker, _ = channel(
        job(job="a", stream=True),
        *(frame(b"D", data) for data in (b"one", b"", b"two")),
        frame(b"E"),
        job(job="b"),
    )
    found = [(one["job"], list(worker.data())) for one in worker.jobs()]
    assert found == [("a", [b"one", b"two"]), ("b", [])]


def test_data_of_a_job_that_failed_early_is_skipped() -> None:
    worker, _ = channel(
        job(job="a", stream=True), frame(b"D", b"unread"), frame(b"E"), job(job="b")
    )
    assert [one["job"] for one in worker.jobs()] == ["a", "b"]


@pytest.mark.parametrize("cut", [b"", frame(b"D", b"half")[:-2], FRAME.pack(b"D", 9)[:3]])
def test_a_daemon_that_goes_away_in_the_middle(cut: bytes) -> None:
    worker, _ = channel(job(job="a", stream=True), frame(b"D", b"one"), cut)
    next(worker.jobs())
    data = worker.data()
    assert next(data) == b"one"
    with pytest.raises(BadTar, match="the daemon went away"):
        next(data)


def test_answers_larger_than_a_pipe_arrive_whole() -> None:
    worker, answers = channel()
    whole = os.urandom(3_000_001)
    got = bytearray()

    def read() -> None:
        while part := os.read(answers, 1 << 16):
            got.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    worker.stream(iter([whole[:10], whole[10:20], whole[20:]]))
    worker.done({"n": 1})
    worker.fail("tar", "no")
    os.close(worker._sink)
    reader.join()
    kinds, data = [], b""
    while got:
        kind, size = FRAME.unpack(got[: FRAME.size])
        body = bytes(got[FRAME.size : FRAME.size + size])
        del got[: FRAME.size + size]
        if kind == b"D":
            assert size <= 1 << 20
            data += body
        else:
            kinds.append((kind, json.loads(body)))
    assert data == whole
    assert kinds == [(b"R", {"n": 1}), (b"X", {"kind": "tar", "text": "no"})]
