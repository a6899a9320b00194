"""Half-closed TLS, with the ssl module's own blocking client."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sampan.http.sockets import TlsFiles, tls_context
from sampan.http.tls import TlsProtocol

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl command")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """One self-signed certificate that is authority, server and client."""
    base = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2"
    command += " -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-keyout", base / "key.pem", "-out", base / "cert.pem"],
        check=True,
        capture_output=True,
    )
    return TlsFiles(base / "cert.pem", base / "cert.pem", base / "key.pem")


class Late(asyncio.Protocol):
    """Answers only after the other side has said its end; then a lot."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> bool:
        self.transport.write(self.received + b"!" * 3_000_000)
        self.transport.close()
        return True


@asynccontextmanager
async def server(files: TlsFiles) -> AsyncIterator[int]:
    context = tls_context(files)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: TlsProtocol(context, Late), "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def talk(port: int, files: TlsFiles, *, certificate: bool) -> bytes:
    """Send, say the end with a close_notify alone, then read all."""
    context = ssl.create_default_context(cafile=str(files.ca))
    if certificate:
        context.load_cert_chain(files.certificate, files.key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:

        def step(what: object) -> object:
            while True:
                try:
                    result = what()  # type: ignore[operator]
                except ssl.SSLWantReadError:
                    raw.sendall(outgoing.read())
                    data = raw.recv(65536)
                    incoming.write(data) if data else incoming.write_eof()
                    continue
                raw.sendall(outgoing.read())
                return result

        step(tls.do_handshake)
        step(lambda: tls.write(b"early"))
        with pytest.raises(ssl.SSLWantReadError):
            tls.unwrap()
        raw.sendall(outgoing.read())
        got = b""
        while True:
            try:
                data = step(lambda: tls.read(65536))
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return got
            if not data:
                return got
            assert isinstance(data, bytes)
            got += data


async def test_output_goes_on_after_the_end_of_input(files: TlsFiles) -> None:
    async with server(files) as port:
        got = await asyncio.to_thread(talk, port, files, certificate=True)
    assert got == b"early" + b"!" * 3_000_000


async def test_nobody_gets_in_without_a_certificate(files: TlsFiles) -> None:
    async with server(files) as port:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(talk, port, files, certificate=False)
