"""Asking registries about images and logins, without moving an image."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.errors import NotFound, Unauthorized
from sampan.image.contract import Credentials, Platform, RegistryFailed
from sampan.image.distribution import Distribution, registry_of
from sampan.image.manifest import OCI_INDEX
from sampan.image.reference import parse
from sampan.image.registry import RegistryClient
from sampan.testing.registry import layer_tar, registry

GOOD = Credentials(username="anna", password="secret")


@pytest.fixture
async def ask(tmp_path: Path) -> AsyncIterator[Distribution]:
    config = DaemonConfig(paths=Paths(tmp_path / "root", tmp_path / "state"))
    async with RegistryClient.open(config, SystemClock()) as client:
        yield Distribution(client)


async def test_an_image_of_a_registry(ask: Distribution, tmp_path: Path) -> None:
    async with registry(tmp_path / "registry") as remote:
        await remote.put("demo/web:1", [layer_tar({"a": "b"})])
        found = await ask.describe(parse(f"{remote.url}/demo/web:1"), None)
        assert found.platforms == (Platform("amd64", "linux"),)
        assert found.digest.startswith("sha256:")
        assert found.size > 0
        again = await ask.describe(parse(f"{remote.url}/demo/web@{found.digest}"), None)
        assert again == found
        with pytest.raises(NotFound):
            await ask.describe(parse(f"{remote.url}/demo/web:2"), None)


async def test_a_registry_that_is_not_there(ask: Distribution) -> None:
    with pytest.raises(RegistryFailed):
        await ask.describe(parse("127.0.0.1:1/demo/web:1"), None)
    with pytest.raises(RegistryFailed):
        await ask.login("127.0.0.1:1", GOOD)


@dataclass
class Guarded:
    """A registry that wants to know who asks: plainly, or by a token of another server."""

    url: str
    scheme: str
    scopes: list[str]

    def index(self) -> bytes:
        each = [
            {"digest": "sha256:" + "0" * 64, "size": 1, "platform": {"os": "linux", **one}}
            for one in ({"architecture": "amd64"}, {"architecture": "arm", "variant": "v7"})
        ]
        return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": each}).encode()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        said = request.headers.get("Authorization", "")
        basic = base64.b64encode(b"anna:secret").decode()
        if request.path == "/token":
            self.scopes.append(request.query.get("scope", "-"))
            if said != f"Basic {basic}":
                return web.Response(status=401)
            return web.json_response({"token": "t"})
        if said != {"basic": f"Basic {basic}", "bearer": "Bearer t"}[self.scheme]:
            challenge = {
                "basic": 'Basic realm="here"',
                "bearer": f'Bearer realm="http://{self.url}/token",service="s"',
            }[self.scheme]
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        if request.path.endswith("/manifests/1"):
            return web.Response(body=self.index(), content_type=OCI_INDEX)
        return web.Response(status=200 if request.path == "/v2/" else 404)


@pytest.fixture(params=["basic", "bearer"])
async def guarded(request: pytest.FixtureRequest) -> AsyncIterator[Guarded]:
    found = Guarded("", request.param, [])
    runner = web.ServerRunner(web.Server(found.answer))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def test_logins_are_checked(ask: Distribution, guarded: Guarded) -> None:
    await ask.login(guarded.url, GOOD)
    await ask.login(f"http://{guarded.url}/v2/", GOOD)
    for wrong in (Credentials(username="anna", password="guess"), None):
        with pytest.raises(Unauthorized):
            await ask.login(guarded.url, wrong)
    assert set(guarded.scopes) <= {"-"}, "a login asks for the right to nothing"


async def test_an_index_lists_its_platforms(ask: Distribution, guarded: Guarded) -> None:
    found = await ask.describe(parse(f"{guarded.url}/demo/web:1"), GOOD)
    assert found.platforms == (Platform("amd64", "linux"), Platform("arm", "linux", "v7"))
    assert found.media_type == OCI_INDEX
    assert found.digest == f"sha256:{hashlib.sha256(guarded.index()).hexdigest()}"
    with pytest.raises(NotFound):
        await ask.describe(parse(f"{guarded.url}/demo/web:1"), None)


def test_names_of_registries() -> None:
    assert registry_of("https://index.docker.io/v1/") == "docker.io"
    assert registry_of("") == "docker.io"
    assert registry_of("https://r.example:5000/v2/") == "r.example:5000"
    assert registry_of("r.example") == "r.example"
