"""Questions to a registry that move no image: what is behind a name, and whether a login works."""

from __future__ import annotations

from typing import Protocol

import msgspec

from sampan.errors import Unauthorized
from sampan.image.auth import AuthRefused, AuthRequest
from sampan.image.contract import Credentials, Described, Platform, Reference, RegistryFailed
from sampan.image.manifest import LIMIT, Index, Manifest, parse_manifest
from sampan.image.registry import Fetched, RegistryClient, RegistryEndpoint, RepositorySession


class Describes(Protocol):
    """What a client may ask of an image that this host need not have."""

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        """Raises: NotFound (also when access is denied), RegistryFailed."""
        ...


class Distribution:
    """``Describes`` by asking registries."""

    def __init__(self, registry: RegistryClient) -> None:
        self._registry = registry

    async def describe(self, reference: Reference, auth: Credentials | None) -> Described:
        failure: Exception | None = None
        for endpoint in await self._registry.reach(reference.registry):
            session = self._registry.session(reference, auth)
            try:
                await session.use(endpoint)
                found = await session.manifest(reference.digest or reference.tag)
                return Described(
                    found.media_type,
                    found.digest,
                    len(found.body),
                    await _platforms(session, found),
                )
            except RegistryFailed as error:
                failure = error  # a mirror that has a bad day
        raise failure or RegistryFailed(f"registry {reference.registry} has no address")

    async def login(self, server: str, credentials: Credentials | None) -> None:
        """Whether the registry ``server`` (as a user writes it) accepts ``credentials``.

        Raises:
            Unauthorized: it does not.
            RegistryFailed: it cannot be reached.
        """
        for endpoint in await self._registry.reach(registry_of(server)):
            await self._login(endpoint, credentials)

    async def _login(self, endpoint: RegistryEndpoint, credentials: Credentials | None) -> None:
        url = f"{endpoint.url}/v2/"
        try:
            token = await self._registry.token(endpoint, credentials, "")
        except AuthRefused as error:
            raise Unauthorized(f'Get "{url}": {error}') from error
        headers = {"Authorization": token} if token else {}
        async with self._registry.request(AuthRequest(url, headers=headers), endpoint) as reply:
            await reply.content.read(LIMIT)
            if reply.status in (401, 403):
                raise Unauthorized(
                    f"login attempt to {url} failed with status: {reply.status} {reply.reason}"
                )
            if reply.status >= 400:
                raise RegistryFailed(f"registry {server_of(url)} answered {reply.status}")


def registry_of(server: str) -> str:
    """``https://index.docker.io/v1/`` is ``docker.io``; of others, the host is the name."""
    host = server_of(server)
    return "docker.io" if host in ("", "index.docker.io", "registry-1.docker.io") else host


def server_of(url: str) -> str:
    return url.partition("://")[2].partition("/")[0] if "://" in url else url.partition("/")[0]


class _Config(msgspec.Struct):
    architecture: str = ""
    os: str = ""
    variant: str = ""


async def _platforms(session: RepositorySession, found: Fetched) -> tuple[Platform, ...]:
    """An index lists them; of a single image, the configuration tells."""
    manifest = parse_manifest(found.body, found.media_type)
    if isinstance(manifest, Index):
        return tuple(one.platform for one in manifest.manifests if one.platform is not None)
    assert isinstance(manifest, Manifest)
    try:
        config = msgspec.json.decode(
            await session.blob(manifest.config.digest, manifest.config.size), type=_Config
        )
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RegistryFailed(f"the image's configuration makes no sense: {error}") from error
    return (Platform(config.architecture, config.os, config.variant),)
