"""The HTTP reader: whatever the pieces, the same answer."""

from __future__ import annotations

import socket
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.client.errors import ProtocolError
from sampan.client.http import Reader, body, delimited, quote, read_head


class Pieces:
    """A source that hands out what it was given, piece by piece."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def recv(self, size: int, /) -> bytes:
        if not self._pieces:
            return b""
        piece = self._pieces.pop(0)
        if len(piece) > size:
            self._pieces.insert(0, piece[size:])
        return piece[:size]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(edges)]


def read(data: bytes, places: list[int], method: str = "GET") -> tuple[int, bytes, bytes]:
    reader = Reader(Pieces(cut(data, places)))
    head = read_head(reader)
    content = b"".join(body(reader, head, method))
    rest = reader.rest()
    while reader.fill():
        rest += reader.rest()
    return head.status, content, rest


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CASES = {
    "counted": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello"),
    "chunked": (CHUNKED + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", 200, b"abc0123456789"),
    "trailers": (CHUNKED + b"1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n", 200, b"x"),
    "no content": (b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n", 204, b""),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
    "bare line feeds": (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, b"ok"),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\ncontent-length:0\r\n\r\n", 200, b""),
}


@pytest.mark.parametrize("name", CASES)
@given(places=st.lists(st.integers(0, 200), max_size=12))
def test_any_cutting_gives_the_same_answer(name: str, places: list[int]) -> None:
    data, status, content = CASES[name]
    assert read(data + b"HTTP/next", places) == (status, content, b"HTTP/next")


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    places=st.lists(st.integers(0, 3000), max_size=20),
)
def test_chunks_of_any_bytes(chunks: list[bytes], places: list[int]) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    assert read(CHUNKED + wire + b"0\r\n\r\n", places) == (200, b"".join(chunks), b"")


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        CHUNKED + b"zz\r\n",
        CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
        CHUNKED + b"3\r\nab",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70000 + b"\r\n",
        b"",
    ],
)
def test_malformed_answers_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(data, [])


def test_until_close_takes_everything_and_is_not_reused() -> None:
    reader = Reader(Pieces([b"HTTP/1.1 200 OK\r\n\r\nab", b"cd"]))
    head = read_head(reader)
    assert b"".join(body(reader, head, "GET")) == b"abcd"
    assert not delimited(head)


def test_head_has_no_body() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n"
    assert read(data, [], "HEAD") == (200, b"", b"")


def test_a_socket_that_sends_byte_by_byte() -> None:
    ours, theirs = socket.socketpair()
    data = CASES["chunked"][0]

    def send() -> None:
        for byte in data:
            theirs.sendall(bytes([byte]))
        theirs.close()

    thread = threading.Thread(target=send)
    thread.start()
    with ours:
        reader = Reader(ours)
        assert b"".join(body(reader, read_head(reader), "GET")) == CASES["chunked"][2]
    thread.join()


def test_quote_keeps_what_is_unreserved() -> None:
    assert quote("a/b c&ü") == "a%2Fb%20c%26%C3%BC"
    assert quote("repo/name:1", b"/:") == "repo/name:1"
