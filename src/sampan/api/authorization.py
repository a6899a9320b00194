"""The guard of Docker's front that asks the authorization plugins."""

from __future__ import annotations

import logging
import ssl
from typing import cast

import msgspec
from aiohttp import web

from sampan.api.docker_request import DockerRequest
from sampan.api.errors import status_of
from sampan.api.services import Services
from sampan.errors import Forbidden, Internal, SampanError
from sampan.http.front import Around
from sampan.http.router import Handler
from sampan.plugins.authz import BODY_LIMIT, Authorization, Exchange, pem, shown

log = logging.getLogger(__name__)

_JSON = ("application/json", "text/json")
_Subject = tuple[tuple[tuple[str, str], ...], ...]
_CREDENTIALS = "/auth"
"""The route whose body is a password."""


class BodyTooLarge(Forbidden):
    """A body that might be JSON, and is larger than what plugins are shown. Docker lets it pass
    unseen, which is a way around every plugin."""

    def __init__(self) -> None:
        super().__init__(
            f"the request body is larger than {BODY_LIMIT >> 20} MiB, which is what authorization "
            "plugins are shown: send less, or, if it is not JSON, say so in Content-Type"
        )


def guards(services: Services) -> tuple[Around[DockerRequest], ...]:
    """Those that the daemon's configuration asks for."""
    names = services.config.plugins.authorization
    if not names:
        return ()
    if services.plugins is None:
        raise Internal(f"authorization plugins {', '.join(names)}: this daemon takes no plugins")
    return (authorized(Authorization(names, services.plugins)),)


def authorized(authorization: Authorization) -> Around[DockerRequest]:
    """Every request passes ``authorization``, and its answer does."""

    async def guard(call: DockerRequest, handler: Handler[DockerRequest]) -> web.StreamResponse:
        exchange = await _exchange(call)
        await authorization.request(exchange)
        try:
            response = await handler(call)
        except SampanError as error:
            # As Docker: the plugins hear of it, and what they say of it changes nothing.
            failed = msgspec.structs.replace(exchange, response_status_code=status_of(error))
            await _told(authorization, failed)
            raise
        answered = msgspec.structs.replace(
            exchange,
            response_status_code=response.status,
            response_headers=shown(list(response.headers.items())),
            response_body=_body(response),
        )
        if isinstance(response, web.Response):
            await authorization.response(answered)
        else:
            await _told(authorization, answered)  # it is out already
        return response

    return guard


async def _told(authorization: Authorization, exchange: Exchange) -> None:
    try:
        await authorization.response(exchange)
    except SampanError as error:
        log.warning("%s %s: %s", exchange.request_method, exchange.request_uri, error)


async def _exchange(call: DockerRequest) -> Exchange:
    request = call.request
    body = b""
    if call.pattern != _CREDENTIALS and _may_be_json(request):
        peeked = await call.peek_body(BODY_LIMIT)
        if peeked is None:
            raise BodyTooLarge
        body = peeked
    user, certificates = _client(request)
    return Exchange(
        user=user,
        user_authn_method="TLS" if certificates else "",
        request_method=request.method,
        request_uri=request.raw_path,
        request_body=body,
        request_headers=shown(list(request.headers.items())),
        request_peer_certificates=certificates,
    )


def _may_be_json(request: web.BaseRequest) -> bool:
    """Whatever a handler would read as JSON, which it also does when no type is given."""
    return not request.headers.get("Content-Type") or request.content_type in _JSON


def _body(response: web.StreamResponse) -> bytes:
    if isinstance(response, web.Response) and response.content_type == "application/json":
        return response.body if isinstance(response.body, bytes) else b""
    return b""


def _client(request: web.BaseRequest) -> tuple[str, tuple[bytes, ...]]:
    """Common name and certificate (PEM) of a client that has shown one."""
    transport = request.transport
    tls = transport.get_extra_info("ssl_object") if transport is not None else None
    if not isinstance(tls, ssl.SSLObject) or (der := tls.getpeercert(binary_form=True)) is None:
        return "", ()
    # Decoded by ssl, which has verified it: a package that reads certificates takes a fifth of a
    # second to import, and a request is on the loop.
    subject = cast(_Subject, (tls.getpeercert() or {}).get("subject", ()))
    names = [value for part in subject for key, value in part if key == "commonName"]
    return (names[0] if names else ""), (pem(der),)
