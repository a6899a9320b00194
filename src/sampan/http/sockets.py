"""The sockets that a server listens on."""

from __future__ import annotations

import errno
import grp
import logging
import os
import socket
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from sampan.errors import Conflict, InvalidArgument

log = logging.getLogger(__name__)

BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a tcp:// socket needs: who may come in, and who we are."""

    ca: Path
    certificate: Path
    key: Path


def open_unix(path: Path, group: str) -> socket.socket:
    """A socket bound to ``path``, not listening yet: mode 0660, and of ``group`` if there is one.
    A stale socket is removed, one that somebody answers on is not.

    Raises:
        Conflict: something else is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_way(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    # Nobody may connect before owner and mode are right.
    mask = os.umask(0o777)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise InvalidArgument(f"cannot listen on {path}: {error.strerror}") from error
    finally:
        os.umask(mask)
    try:
        os.chown(path, 0, grp.getgrnam(group).gr_gid)
    except KeyError:
        log.info("group %s does not exist: only root may use %s", group, path)
        os.chown(path, 0, 0)
    os.chmod(path, 0o660)
    return sock


def _make_way(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Conflict(f"{path} exists and is not a socket: move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
        raise Conflict(f"another process listens on {path}: stop it, or give another --host")


def open_tcp(host: str) -> socket.socket:
    """A socket bound to ``tcp://ADDRESS:PORT``, not listening yet; 2376 when there is no port."""
    parts = urlsplit(host)
    address, port = parts.hostname or "0.0.0.0", parts.port or 2376
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
    except OSError as error:
        sock.close()
        raise InvalidArgument(f"cannot listen on {host}: {error.strerror}") from error
    return sock


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or newer; only clients with a certificate of our authority get in.

    Raises:
        InvalidArgument: a file is missing or not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_verify_locations(files.ca)
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise InvalidArgument(f"cannot use the TLS files: {error}") from error
    return context
