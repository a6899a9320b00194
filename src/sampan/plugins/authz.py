"""``authz``: plugins that every request of the Docker API passes, and its answer on the way back.

A plugin is asked twice: before the request is carried out (``AuthZReq``) and before the answer is
sent (``AuthZRes``). All of them must allow it, in their order; the first that does not ends it. One
that cannot be asked does not allow it. Nothing here knows HTTP: what a plugin is told is passed in.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

import msgspec

from sampan.errors import Forbidden, Unavailable
from sampan.plugins.errors import BadPluginFile, NoSuchPlugin, NotThatKind, PluginFailed
from sampan.plugins.plugins import Plugins
from sampan.plugins.wire import Answer

KIND = "authz"
BODY_LIMIT = 1 << 20
"""Bytes of a body that plugins are shown at most."""
SECRET = frozenset(("Authorization", "X-Registry-Config", "X-Registry-Auth"))
"""Headers that plugins are not shown."""


class Denied(Forbidden):
    def __init__(self, plugin: str, message: str) -> None:
        super().__init__(f"authorization denied by plugin {plugin}: {message}")
        self.plugin = plugin


class Undecided(Unavailable):
    """A plugin that should have decided did not."""

    def __init__(self, plugin: str, problem: str) -> None:
        super().__init__(f"plugin {plugin} failed with error: {problem}")
        self.plugin = plugin


class Exchange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """What a plugin is told of a request and, the second time, of its answer."""

    user: str = ""
    """Common name of the client's certificate; empty on a unix socket."""
    user_authn_method: str = msgspec.field(default="", name="UserAuthNMethod")
    """``TLS``, or empty."""
    request_method: str = ""
    request_uri: str = ""
    request_body: bytes = b""
    request_headers: Mapping[str, str] = {}
    request_peer_certificates: Sequence[bytes] = ()
    """In PEM."""
    response_status_code: int = 0
    response_body: bytes = b""
    response_headers: Mapping[str, str] = {}


class _Verdict(Answer, frozen=True, kw_only=True, rename="pascal"):
    allow: bool = False
    msg: str = ""


class Authorization:
    """The chain of the plugins called ``names``."""

    def __init__(self, names: Sequence[str], plugins: Plugins) -> None:
        self._names = tuple(names)
        self._plugins = plugins

    async def request(self, exchange: Exchange) -> None:
        """Before the request is carried out.

        Raises:
            Denied, Undecided: it must not be.
        """
        await self._ask("AuthZPlugin.AuthZReq", exchange)

    async def response(self, exchange: Exchange) -> None:
        """Before the answer is sent.

        Raises:
            Denied, Undecided: it must not be.
        """
        await self._ask("AuthZPlugin.AuthZRes", exchange)

    async def _ask(self, method: str, exchange: Exchange) -> None:
        for name in self._names:
            try:
                client = await self._plugins.client(name, KIND)
                verdict = await client.call(method, exchange, _Verdict)
            except (PluginFailed, NoSuchPlugin, NotThatKind, BadPluginFile) as error:
                raise Undecided(name, str(error)) from error
            if not verdict.allow:
                raise Denied(name, verdict.msg)


def shown(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Headers as plugins get them: names as Go writes them, the last of several, no secrets."""
    named = {"-".join(map(str.capitalize, name.split("-"))): value for name, value in headers}
    return {name: value for name, value in named.items() if name not in SECRET | {"Host"}}


def pem(der: bytes) -> bytes:
    """A certificate in PEM."""
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    ends = (b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----", b"")
    return b"\n".join((ends[0], *lines, *ends[1:]))
