"""The token dance, as a dialogue."""

from __future__ import annotations

import pytest

from sampan.image.auth import AuthRefused, AuthRequest, Challenge, Reply, authorize, parse_challenge
from sampan.image.contract import Credentials, RegistryFailed

BEARER = Challenge("bearer", {"realm": "https://auth/token", "service": "reg"})
SCOPE = "repository:a/b:pull"


def ask(
    challenge: Challenge, credentials: Credentials | None, reply: Reply
) -> tuple[AuthRequest, str]:
    flow = authorize(challenge, credentials, SCOPE)
    request = next(flow)
    with pytest.raises(StopIteration) as done:
        flow.send(reply)
    return request, done.value.value


def test_challenges() -> None:
    found = parse_challenge('Bearer realm="https://auth/t",service="a \\"b\\"",scope="x,y"')
    assert found == Challenge(
        "bearer", {"realm": "https://auth/t", "service": 'a "b"', "scope": "x,y"}
    )
    assert parse_challenge("Basic realm=x").scheme == "basic"


def test_an_anonymous_token() -> None:
    request, header = ask(BEARER, None, Reply(200, body=b'{"token":"T"}'))
    assert request.url == "https://auth/token?scope=repository%3Aa%2Fb%3Apull&service=reg"
    assert "Authorization" not in request.headers
    assert header == "Bearer T"


def test_a_token_for_somebody() -> None:
    request, header = ask(BEARER, Credentials("me", "pw"), Reply(200, body=b'{"access_token":"U"}'))
    assert request.headers["Authorization"] == "Basic bWU6cHc="
    assert header == "Bearer U"


def test_an_identity_token_is_posted() -> None:
    request, _ = ask(BEARER, Credentials(identity_token="I"), Reply(200, body=b'{"token":"T"}'))
    assert request.method == "POST"
    assert b"refresh_token=I" in request.body


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(401), AuthRefused),
        (Reply(500), RegistryFailed),
        (Reply(200, body=b"<html>"), RegistryFailed),
        (Reply(200, body=b"{}"), RegistryFailed),
    ],
)
def test_token_servers_that_refuse(reply: Reply, error: type[Exception]) -> None:
    flow = authorize(BEARER, None, SCOPE)
    next(flow)
    with pytest.raises(error):
        flow.send(reply)


def test_basic_and_ready_tokens_need_no_exchange() -> None:
    basic = Challenge("basic", {})
    with pytest.raises(StopIteration) as done:
        next(authorize(basic, Credentials("me", "pw"), SCOPE))
    assert done.value.value == "Basic bWU6cHc="
    with pytest.raises(AuthRefused):
        next(authorize(basic, None, SCOPE))
    with pytest.raises(StopIteration) as done:
        next(authorize(BEARER, Credentials(registry_token="R"), SCOPE))
    assert done.value.value == "Bearer R"
