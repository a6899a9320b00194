"""Where the daemon is, and how a connection to it is opened."""

from __future__ import annotations

import errno
import os
import socket

from sampan.client.errors import Unreachable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_HOST = "unix:///run/sampan/sampan.sock"
_CONNECT_TIMEOUT_S = 20.0


class Tls:
    """Files of a TLS client; empty strings where there is none."""

    __slots__ = ("ca", "cert", "key", "verify")

    def __init__(self, ca: str = "", cert: str = "", key: str = "", verify: bool = True) -> None:
        self.ca = ca
        self.cert = cert
        self.key = key
        self.verify = verify


class Address:
    """A parsed daemon address: a unix socket (``path``) or TCP (``host``, ``port``)."""

    __slots__ = ("host", "path", "port", "text", "tls")

    def __init__(self, text: str, path: str, host: str, port: int, tls: Tls | None) -> None:
        self.text = text
        self.path = path
        self.host = host
        self.port = port
        self.tls = tls

    @property
    def http_host(self) -> str:
        """The Host header."""
        return "localhost" if self.path else f"{self.host}:{self.port}"


def choose_host(host: str | None, environ: Mapping[str, str]) -> str:
    """What the user said, else SAMPAN_HOST, else DOCKER_HOST, else the default socket."""
    return host or environ.get("SAMPAN_HOST") or environ.get("DOCKER_HOST") or DEFAULT_HOST


def tls_from(environ: Mapping[str, str]) -> Tls | None:
    """The TLS files that docker's variables name (DOCKER_TLS_VERIFY, DOCKER_CERT_PATH)."""
    verify = bool(environ.get("DOCKER_TLS_VERIFY"))
    if not verify and not environ.get("DOCKER_TLS"):
        return None
    home = environ.get("HOME", "/")
    folder = environ.get("DOCKER_CERT_PATH") or os.path.join(home, ".docker")
    files = [os.path.join(folder, name) for name in ("ca.pem", "cert.pem", "key.pem")]
    ca, cert, key = (name if os.path.exists(name) else "" for name in files)
    return Tls(ca, cert, key, verify)


def parse(text: str, tls: Tls | None = None) -> Address:
    """Parse ``unix://PATH`` or ``tcp://HOST[:PORT]``. Raises Unreachable on anything else."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = ("unix", text) if text.startswith("/") else ("tcp", text)
    if scheme == "unix":
        return Address(f"unix://{rest}", rest or DEFAULT_HOST[7:], "", 0, None)
    if scheme not in ("tcp", "http", "https"):
        raise Unreachable(
            f"cannot use the daemon address {text!r}: write unix://PATH or tcp://HOST:PORT"
        )
    if scheme == "https" and tls is None:
        tls = Tls()
    name, _, _ = rest.partition("/")
    default = 2376 if tls else 2375
    if name.startswith("["):
        host, _, port = name[1:].partition("]")
        port = port.lstrip(":")
    else:
        host, _, port = name.partition(":")
    if port and not (port.isdecimal() and 0 < int(port) < 65536):
        raise Unreachable(f"cannot use the daemon address {text!r}: {port!r} is not a port")
    return Address(text, "", host or "127.0.0.1", int(port) if port else default, tls)


def dial(address: Address) -> socket.socket:
    """Open a connection. Raises Unreachable with a sentence that says what to do."""
    try:
        if address.path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.connect(address.path)
            except BaseException:
                sock.close()
                raise
            return sock
        where = (address.host, address.port)
        sock = socket.create_connection(where, timeout=_CONNECT_TIMEOUT_S)
        sock.settimeout(None)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A stream of events may be silent for hours: let the kernel notice a peer that is gone.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return _wrap(sock, address) if address.tls else sock
    except OSError as error:
        raise Unreachable(_explain(address, error)) from error


def _wrap(sock: socket.socket, address: Address) -> socket.socket:
    import ssl

    tls = address.tls or Tls()
    context = ssl.create_default_context(cafile=tls.ca or None)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert and tls.key:
        context.load_cert_chain(tls.cert, tls.key)
    try:
        return context.wrap_socket(sock, server_hostname=address.host)
    except BaseException:
        sock.close()
        raise


def _explain(address: Address, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM) and address.path:
        group = _group_of(address.path)
        return (
            f"permission denied while connecting to the daemon at {address.text}: join the group "
            f"{group!r} (sudo usermod -aG {group} $USER, then log in again) or use sudo"
        )
    if error.errno in (errno.ENOENT, errno.ECONNREFUSED) and address.path:
        return (
            f"Cannot connect to the daemon at {address.text}. Is it running? "
            "Start it with `sudo sampand`, or name another one with -H or SAMPAN_HOST"
        )
    reason = error.strerror or str(error) or type(error).__name__
    return f"Cannot connect to the daemon at {address.text}: {reason}. Is it running?"


def _group_of(path: str) -> str:
    import grp

    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name
    except (OSError, KeyError):
        return "sampan"
