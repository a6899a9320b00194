"""Registry credentials as clients send them: base64 of JSON in a header."""

from __future__ import annotations

import base64
import binascii

import msgspec

from sampan.api.types.images import AUTH_DECODER, AUTHS_DECODER, AuthBody
from sampan.errors import InvalidArgument
from sampan.image.contract import Credentials


def from_header(value: str) -> Credentials | None:
    """``X-Registry-Auth``; None when it is absent or says nothing.

    Raises:
        InvalidArgument: neither base64 nor JSON.
    """
    if not value:
        return None
    try:
        return from_body(AUTH_DECODER.decode(_decoded(value)))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"invalid X-Registry-Auth header: {error}") from error


def from_config_header(value: str) -> dict[str, Credentials]:
    """``X-Registry-Config``: credentials by registry."""
    if not value:
        return {}
    try:
        bodies = AUTHS_DECODER.decode(_decoded(value) or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"invalid X-Registry-Config header: {error}") from error
    found = {host: from_body(body) for host, body in bodies.items()}
    return {host: one for host, one in found.items() if one is not None}


def from_body(body: AuthBody) -> Credentials | None:
    """The same from a parsed object; ``auth`` is "user:password" in base64."""
    username, password = body.username or "", body.password or ""
    if body.auth and not username:
        username, _, password = _decoded(body.auth).decode(errors="replace").partition(":")
    if not (username or body.identitytoken or body.registrytoken):
        return None
    return Credentials(
        username=username,
        password=password.rstrip("\0"),
        identity_token=body.identitytoken or "",
        registry_token=body.registrytoken or "",
    )


def _decoded(value: str) -> bytes:
    plain = value.strip().replace("-", "+").replace("_", "/")
    padded = plain + "=" * (-len(plain) % 4)
    try:
        return base64.b64decode(padded, validate=True) or b"{}"
    except (binascii.Error, ValueError) as error:
        raise InvalidArgument(f"invalid credentials header: {error}") from error
