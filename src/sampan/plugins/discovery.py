"""Where a plugin listens: a socket or a file of its name in one of the plugin directories.

    SOCKETS/NAME.sock, SOCKETS/NAME/NAME.sock            a unix socket
    SPECS/NAME.spec, SPECS/NAME/NAME.spec                a URL in a line
    SPECS/NAME.json, SPECS/NAME/NAME.json                {"Name", "Addr", "TLSConfig"}

in this order, each of the specification directories in its turn, as Docker looks. The first that is
there counts, also if it turns out to be unusable: otherwise a typing error would silently mean
another plugin.

Everything here blocks: it reads files, and is called in a thread.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from sampan.plugins.errors import BadPluginFile, NoSuchPlugin

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}")  # with its suffix it is a file's name
FILE_LIMIT = 64 << 10
"""Bytes of a specification file."""
SCHEMES = ("unix", "tcp", "http", "https")


class TlsConfig(msgspec.Struct, frozen=True, rename="pascal"):
    """``TLSConfig`` of a JSON specification."""

    insecure_skip_verify: bool = False
    ca_file: str = msgspec.field(default="", name="CAFile")
    cert_file: str = ""
    key_file: str = ""


class _Specification(msgspec.Struct, frozen=True, rename="pascal"):
    addr: str = ""
    name: str = ""
    tls: TlsConfig | None = msgspec.field(default=None, name="TLSConfig")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a plugin takes connections."""

    url: str
    """As written: what errors call it."""
    socket: str = ""
    """Path of a unix socket; else empty."""
    host: str = ""
    """HOST:PORT of a TCP address; else empty."""
    tls: TlsConfig | None = None
    """None: plain HTTP."""


@dataclass(frozen=True, slots=True)
class Directories:
    """Where plugins are looked for."""

    sockets: Path
    specifications: tuple[Path, ...]

    def find(self, name: str) -> Address:
        """Where the plugin ``name`` listens.

        Raises:
            NoSuchPlugin: nothing of that name, or not a name that a plugin can have.
            BadPluginFile: a specification file that cannot be read or understood.
        """
        if not _NAME.fullmatch(name):
            raise NoSuchPlugin(name)
        for path in _paths(self.sockets, name, ".sock"):
            if _is_socket(path):
                return Address(f"unix://{path}", socket=str(path))
        for directory in self.specifications:
            for path in _paths(directory, name, ".spec"):
                if path.exists():
                    return parse_address(name, path, _read(name, path).strip())
            for path in _paths(directory, name, ".json"):
                if path.exists():
                    return parse_specification(name, path, _read(name, path))
        raise NoSuchPlugin(name)

    def names(self) -> list[str]:
        """Every plugin that has a socket or a file."""
        found: set[str] = set()
        for directory in (self.sockets, *self.specifications):
            for suffix in (".sock",) if directory == self.sockets else (".spec", ".json"):
                for path in (*directory.glob(f"*{suffix}"), *directory.glob(f"*/*{suffix}")):
                    if path.parent == directory or path.parent.name == path.stem:
                        found.add(path.stem)
        return sorted(name for name in found if _NAME.fullmatch(name))


def _paths(directory: Path, name: str, suffix: str) -> Iterator[Path]:
    yield directory / f"{name}{suffix}"
    yield directory / name / f"{name}{suffix}"


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _read(name: str, path: Path) -> str:
    try:
        if not path.is_file():
            # A FIFO is never read to its end, nor is a device.
            raise BadPluginFile(name, str(path), "not a file")
        with path.open("rb") as file:
            content = file.read(FILE_LIMIT + 1)
        if len(content) > FILE_LIMIT:
            raise BadPluginFile(name, str(path), f"larger than {FILE_LIMIT >> 10} KiB")
        return content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BadPluginFile(name, str(path), f"cannot be read: {error}") from error


def parse_address(name: str, path: Path, text: str, tls: TlsConfig | None = None) -> Address:
    """The address that a specification file names.

    Raises:
        BadPluginFile: not a URL of one of ``SCHEMES``.
    """
    try:
        parts = urlsplit(text)
        scheme, host, socket, port = parts.scheme, parts.netloc, parts.path, parts.port
    except ValueError as error:
        raise BadPluginFile(name, str(path), f"{text!r} is not a URL: {error}") from error
    if scheme not in SCHEMES:
        raise BadPluginFile(
            name, str(path), f"{text!r}: Unknown protocol: write unix://PATH or tcp://HOST:PORT"
        )
    if scheme == "unix":
        # unix://relative/path is no path that means the same to everybody
        if host or not socket.startswith("/"):
            raise BadPluginFile(name, str(path), f"{text!r}: a unix socket is unix:///PATH")
        return Address(text, socket=socket)
    if not host or (scheme == "tcp" and port is None):
        raise BadPluginFile(name, str(path), f"{text!r} names no HOST:PORT")
    if scheme == "https":
        tls = tls or TlsConfig(insecure_skip_verify=True)
    elif tls is not None and not (tls.ca_file or tls.cert_file):
        tls = None
    elif tls is not None and scheme == "http":
        raise BadPluginFile(name, str(path), f"{text!r} says http:// and has a TLSConfig")
    return Address(text, host=host, tls=tls)


def parse_specification(name: str, path: Path, text: str) -> Address:
    """The address of a JSON specification. ``Name`` in it is for people: the file's name counts.

    Raises:
        BadPluginFile: not JSON, or no usable ``Addr``.
    """
    try:
        said = msgspec.json.decode(text, type=_Specification)
    except msgspec.DecodeError as error:
        raise BadPluginFile(name, str(path), f"not a plugin's specification: {error}") from error
    tls = said.tls
    if tls is not None and not tls.ca_file:
        # Docker's rule: without an authority there is nothing to verify against
        tls = msgspec.structs.replace(tls, insecure_skip_verify=True)
    return parse_address(name, path, said.addr, tls)


def tls_context(name: str, tls: TlsConfig) -> ssl.SSLContext:
    """What a connection to the plugin is secured with. Reads files.

    Raises:
        BadPluginFile: a certificate or key that cannot be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if tls.ca_file:
            context.load_verify_locations(cafile=tls.ca_file)
        if tls.cert_file or tls.key_file:
            context.load_cert_chain(tls.cert_file, tls.key_file or None)
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(filter(None, (tls.ca_file, tls.cert_file, tls.key_file)))
        raise BadPluginFile(name, files, f"cannot be loaded: {error}") from error
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
