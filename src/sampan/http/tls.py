"""TLS that can be half-closed.

The TLS of asyncio (and of uvloop) closes a connection when the other side has said that it will
send no more. For hijacked streams that is the normal case: many clients end their sending side at
once and then read the output. So the record layer runs here, over OpenSSL's memory BIOs: end of
file is passed on, and sending goes on.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, cast

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
_READ = 256 * 1024


class TlsProtocol(asyncio.Protocol):
    """Stands between a TCP transport and ``inner``, the protocol that speaks in the clear."""

    def __init__(self, context: ssl.SSLContext, inner: Callable[[], asyncio.Protocol]) -> None:
        self.context = context
        self._make_inner = inner
        self._inner: asyncio.Protocol | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self._in, self._out, server_side=True)
        self._eof = False
        self._said_end = False
        self._paused = False
        self._deadline: asyncio.TimerHandle | None = None
        self.raw: asyncio.Transport

    # -- from the TCP transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.raw = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(HANDSHAKE_S, self.raw.abort)

    def data_received(self, data: bytes) -> None:
        self._in.write(data)
        self._advance()

    def eof_received(self) -> bool:
        self._in.write_eof()
        self._advance()
        return not self.raw.is_closing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    # -- the record layer

    def _advance(self) -> None:
        try:
            if self._inner is None:
                self._handshake()
            self._read()
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            self._end()
        except ssl.SSLError as error:
            log.info("TLS with %s failed: %s", self.raw.get_extra_info("peername"), error)
            self.flush()  # the alert that says why
            self.raw.close()
        finally:
            self.flush()

    def _handshake(self) -> None:
        self.object.do_handshake()
        if self._deadline is not None:
            self._deadline.cancel()
        self._inner = self._make_inner()
        self._inner.connection_made(TlsTransport(self))

    def _read(self) -> None:
        assert self._inner is not None
        while not self._paused and not self._eof:
            data = self.object.read(_READ)
            if not data:
                self._end()
                return
            self._inner.data_received(data)

    def _end(self) -> None:
        if self._inner is None:
            self.raw.close()
        elif not self._eof:
            self._eof = True
            if not self._inner.eof_received():
                self.raw.close()

    # -- from the inner protocol, by its transport

    def flush(self) -> None:
        """Send what the record layer has ready."""
        if self._out.pending and not self.raw.is_closing():
            self.raw.write(self._out.read())

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._said_end:
            self.object.write(data)
            self.flush()

    def say_end(self) -> None:
        """Tell the other side that nothing more comes; it may still send."""
        if not self._said_end:
            self._said_end = True
            # It wants the other side's answer, which is not waited for.
            with suppress(ssl.SSLError):
                self.object.unwrap()
            self.flush()

    def pause(self) -> None:
        self._paused = True
        self.raw.pause_reading()

    def resume(self) -> None:
        self._paused = False
        self.raw.resume_reading()
        asyncio.get_running_loop().call_soon(self._advance)


class TlsTransport(asyncio.Transport):
    """What the inner protocol writes to."""

    def __init__(self, tls: TlsProtocol) -> None:
        super().__init__()
        self._tls = tls

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._tls.write(data)

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self._tls.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._tls.say_end()

    def close(self) -> None:
        self._tls.say_end()
        self._tls.raw.close()

    def abort(self) -> None:
        self._tls.raw.abort()

    def is_closing(self) -> bool:
        return self._tls.raw.is_closing()

    def pause_reading(self) -> None:
        self._tls.pause()

    def resume_reading(self) -> None:
        self._tls.resume()

    def get_write_buffer_size(self) -> int:
        return self._tls.raw.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._tls.raw.set_write_buffer_limits(high, low)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext":
            return self._tls.context
        if name == "ssl_object":
            return self._tls.object
        return self._tls.raw.get_extra_info(name, default)
