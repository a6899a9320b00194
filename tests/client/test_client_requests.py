"""The client against a small server on a real socket that answers from a script."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sampan.client import (
    ApiError,
    Client,
    Conflict,
    NotFound,
    NotModified,
    ProtocolError,
    StreamFailed,
    Unreachable,
)
from sampan.client import containers as containers_api
from sampan.client import images as images_api
from sampan.client.client import encode_query


class Server:
    """Accepts connections; each request gets the next answer of the script."""

    def __init__(self, path: Path) -> None:
        self.url = f"unix://{path}"
        self.requests: list[bytes] = []
        self.connections = 0
        self.answers: list[bytes | Callable[[socket.socket], None]] = []
        self.api = b"1.47"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._open: list[socket.socket] = []
        self._threads[0].start()

    def client(self) -> Client:
        return Client(self.url, environ={})

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            sock.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            self._threads.append(threading.Thread(target=self._serve, args=(sock,)))
            self._threads[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as file:
            while request := _read_request(file):
                if b" /_ping " in request:
                    head = b"HTTP/1.1 200 OK\r\nApi-Version: %b\r\n" % self.api
                    sock.sendall(head + b"Content-Length: 2\r\n\r\nOK")
                    continue
                self.requests.append(request)
                answer = self.answers.pop(0)
                if callable(answer):
                    answer(sock)
                    return
                sock.sendall(answer)


def _read_request(file: object) -> bytes:
    head = b""
    try:
        while not head.endswith(b"\r\n\r\n"):
            line = file.readline()  # type: ignore[attr-defined]
            if not line:
                return b""
            head += line
        lower = head.lower()
        if b"content-length:" in lower:
            length = int(lower.split(b"content-length:")[1].split(b"\r\n")[0])
            return head + file.read(length)  # type: ignore[attr-defined,no-any-return]
        if b"chunked" in lower:
            content = b""
            while size := int(file.readline(), 16):  # type: ignore[attr-defined]
                content += file.read(size)  # type: ignore[attr-defined]
                file.readline()  # type: ignore[attr-defined]
            file.readline()  # type: ignore[attr-defined]
            return head + content
        return head
    except (OSError, ValueError):
        return b""


def answer(status: int, value: object = None) -> bytes:
    content = b"" if value is None else json.dumps(value).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "s")
    yield made
    made.close()


def test_the_older_version_of_both_is_used_and_the_connection_kept(server: Server) -> None:
    server.answers = [answer(200, [1]), answer(200, {"a": 2})]
    client = server.client()
    assert client.get("/x", {"all": True, "none": None}) == [1]
    assert client.post("/y", None, {"b": 1}) == {"a": 2}
    assert server.requests[0].startswith(b"GET /v1.47/x?all=1 HTTP/1.1\r\n")
    assert server.requests[1].endswith(b'\r\n\r\n{"b": 1}')
    assert server.connections == 1
    client.close()


def test_a_daemon_that_is_too_old_is_named(server: Server) -> None:
    server.api = b"1.24"
    with pytest.raises(Unreachable, match=r"speaks API version 1\.24"):
        server.client().get("/x")


@pytest.mark.parametrize(
    ("status", "kind"), [(404, NotFound), (409, Conflict), (304, NotModified), (500, ApiError)]
)
def test_refusals_are_typed(server: Server, status: int, kind: type[ApiError]) -> None:
    server.answers = [answer(status, None if status == 304 else {"message": "because"})]
    client = server.client()
    with pytest.raises(kind) as caught:
        client.get("/x")
    assert caught.value.status == status
    assert status == 304 or str(caught.value) == "because"
    client.close()


def test_a_refusal_that_is_no_json_is_shown_as_it_is(server: Server) -> None:
    server.answers = [b"HTTP/1.1 400 Bad\r\nContent-Length: 9\r\n\r\nbad thing"]
    client = server.client()
    with pytest.raises(ApiError, match="bad thing"):
        client.get("/x")
    client.close()


def test_a_body_of_pieces_goes_out_in_chunks(server: Server) -> None:
    server.answers = [answer(200)]
    client = server.client()
    client.stream("POST", "/x", None, iter([b"abc", b"", b"def"])).read()
    assert server.requests[0].endswith(b"\r\n\r\nabcdef")
    client.close()


def test_an_early_refusal_wins_over_a_broken_pipe(server: Server) -> None:
    def refuse(sock: socket.socket) -> None:
        raise AssertionError("never called: the request never ends")

    server.answers = [refuse]
    # The listener's own thread would read the whole body; this one hangs up after the head.
    ours = socket.socket(socket.AF_UNIX)
    path = server.url[7:] + "2"
    ours.bind(path)
    ours.listen()

    def hang_up() -> None:
        sock, _ = ours.accept()
        with sock:
            sock.recv(100)
            sock.sendall(b"HTTP/1.1 413 X\r\nContent-Length: 7\r\n\r\ntoo big")

    thread = threading.Thread(target=hang_up)
    thread.start()
    client = Client(f"unix://{path}", environ={"DOCKER_API_VERSION": "1.41"})
    with pytest.raises(ApiError, match="too big"):
        client.stream("POST", "/x", None, (b"x" * 65536 for _ in range(200)))
    thread.join()
    ours.close()


def test_json_lines_come_one_by_one(server: Server) -> None:
    lines = b'{"a":1}\r\n{"b":2}{"c":3}\n{"d":4}'
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(lines), lines)]
    client = server.client()
    found = list(client.stream("GET", "/events").iter_json())
    assert found == [{"a": 1}, {"b": 2}, {"c": 3}, {"d": 4}]
    client.close()


def test_an_error_in_a_stream_is_raised_with_its_code(server: Server) -> None:
    error = {"error": "no", "errorDetail": {"message": "exit 9", "code": 9}}
    text = b'{"stream":"x"}\n' + json.dumps(error).encode()
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)]
    client = server.client()
    messages = images_api.pull(client, "busybox")
    assert next(messages) == {"stream": "x"}
    with pytest.raises(StreamFailed) as caught:
        next(messages)
    assert caught.value.code == 9
    assert b"fromImage=busybox&tag=latest" in server.requests[0]
    client.close()


def test_hijack_reads_what_came_with_the_head(server: Server) -> None:
    def echo(sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\n\r\nfirst ")
        while data := sock.recv(100):
            sock.sendall(data.upper())

    server.answers = [echo]
    with containers_api.attach(server.client(), "c", stdin=True) as stream:
        assert stream.recv() == b"first "
        stream.sendall(b"abc")
        stream.close_write()
        assert stream.recv() == b"ABC"
        assert stream.recv() == b""
    assert b"Upgrade: tcp" in server.requests[0]


def test_a_connection_that_was_closed_while_idle_is_replaced(server: Server) -> None:
    server.answers = [lambda sock: sock.sendall(answer(200, 1)), answer(200, 2)]
    client = server.client()
    assert client.get("/x") == 1
    assert client.get("/y") == 2
    client.close()


def test_a_lost_answer_is_a_sentence(server: Server) -> None:
    server.answers = [lambda _sock: None]
    with pytest.raises(ProtocolError, match="closed the connection"):
        server.client().post("/x")


def test_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="Is it running"):
        Client(f"unix://{tmp_path}/none", environ={}).get("/x")


def test_threads_share_a_client(server: Server) -> None:
    server.answers = [answer(200, n) for n in range(40)]
    client = server.client()
    found: list[int] = []

    def work() -> None:
        for _ in range(5):
            found.append(client.get("/x"))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(40))
    assert server.connections <= 8 + 8
    client.close()


def test_queries() -> None:
    query = {"t": ["a:1", "b"], "filters": {"label": ["x=y"]}, "off": False, "none": None}
    assert encode_query(query) == (
        "?t=a%3A1&t=b&filters=%7B%22label%22%3A%20%5B%22x%3Dy%22%5D%7D&off=0"
    )
    assert encode_query({"none": None}) == ""
