"""Where a node is found: ``ADDRESS:PORT``, with brackets around an IPv6 address. Pure."""

from __future__ import annotations

from sampan.cluster.peer.contract import DEFAULT_PORT
from sampan.errors import InvalidArgument


def join_port(address: str, port: int) -> str:
    """The two as one."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def split_port(text: str, default: int = DEFAULT_PORT) -> tuple[str, int]:
    """``ADDRESS``, ``ADDRESS:PORT`` or ``[V6]:PORT`` -> (address or name, port).

    Raises:
        InvalidArgument: the port is not one.
    """
    host, port = _parts(text)
    if port is None:
        port = str(default)
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidArgument(
            f"invalid port in address {text!r}: a port is a number from 1 to 65535"
        )
    return host, int(port)


def host_of(text: str) -> str:
    """What ``split_port`` finds before the port, whatever the port is."""
    return _parts(text)[0]


def _parts(text: str) -> tuple[str, str | None]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":") or None
    if text.count(":") == 1:
        host, _, port = text.partition(":")
        return host, port
    return text, None
