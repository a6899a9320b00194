"""Who we are to a registry, without any I/O: the token dance as a generator.

The driver sends what is yielded and answers with what came back; the last request is the one it
wanted to make in the first place, with an ``Authorization`` header. Tokens are kept by the driver.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Generator
from dataclasses import dataclass, field
from urllib.parse import urlencode

from sampan.image.contract import Credentials, RegistryFailed

_PARAMETER = re.compile(r'([A-Za-z_]+)="((?:[^"\\]|\\.)*)"|([A-Za-z_]+)=([^\s,]+)')


@dataclass(frozen=True, slots=True)
class AuthRequest:
    url: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    """Keys in lower case."""
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A ``WWW-Authenticate`` header."""

    scheme: str
    parameters: dict[str, str]


def parse_challenge(header: str) -> Challenge:
    """``Bearer realm="https://...",service="..."``; the scheme in lower case."""
    scheme, _, rest = header.strip().partition(" ")
    parameters = {}
    for match in _PARAMETER.finditer(rest):
        key, value = (match[1], match[2]) if match[1] else (match[3], match[4])
        parameters[key.lower()] = re.sub(r"\\(.)", r"\1", value)
    return Challenge(scheme.lower(), parameters)


class AuthRefused(RegistryFailed):
    """The credentials (or their absence) were not accepted."""


def authorize(
    challenge: Challenge, credentials: Credentials | None, scope: str
) -> Generator[AuthRequest, Reply, str]:
    """Returns the value of the ``Authorization`` header for ``scope``; empty: go without.

    Raises:
        Refused: the token server said no.
        RegistryFailed: it made no sense.
    """
    if credentials is not None and credentials.registry_token:
        return f"Bearer {credentials.registry_token}"
    if challenge.scheme == "basic":
        if credentials is None or not credentials.username:
            raise AuthRefused("no basic auth credentials")
        return _basic(credentials)
    if challenge.scheme != "bearer" or "realm" not in challenge.parameters:
        return ""
    reply = yield _token_request(challenge, credentials, scope)
    if reply.status in (401, 403):
        raise AuthRefused("unauthorized: incorrect username or password")
    if reply.status != 200:
        raise RegistryFailed(f"the registry's token server answered {reply.status}")
    try:
        answer = json.loads(reply.body)
        token = answer.get("token") or answer.get("access_token")
    except (ValueError, AttributeError) as error:
        raise RegistryFailed(f"the registry's token server made no sense: {error}") from error
    if not isinstance(token, str) or not token:
        raise RegistryFailed("the registry's token server gave no token")
    return f"Bearer {token}"


def _token_request(
    challenge: Challenge, credentials: Credentials | None, scope: str
) -> AuthRequest:
    realm = challenge.parameters["realm"]
    service = challenge.parameters.get("service", "")
    if credentials is not None and credentials.identity_token:
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.identity_token,
            "service": service,
            "scope": scope,
            "client_id": "sampan",
        }
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return AuthRequest(realm, "POST", kind, urlencode(form).encode())
    query = ({"scope": scope} if scope else {}) | ({"service": service} if service else {})
    headers = {}
    if credentials is not None and credentials.username:
        query["account"] = credentials.username
        headers["Authorization"] = _basic(credentials)
    return AuthRequest(f"{realm}{'&' if '?' in realm else '?'}{urlencode(query)}", headers=headers)


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
