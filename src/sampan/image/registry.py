"""The client of the OCI distribution protocol: manifests, blobs, tokens, mirrors, plain HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import aiohttp

from sampan.aio import Clock
from sampan.config import DaemonConfig
from sampan.errors import NotFound
from sampan.image.auth import AuthRefused, AuthRequest, Challenge, Reply, authorize, parse_challenge
from sampan.image.contract import BadLayer, Credentials, Reference, RegistryFailed
from sampan.image.manifest import ACCEPT, LIMIT, Descriptor, Manifest
from sampan.image.reference import DEFAULT_REGISTRY, familiar_repository

DEFAULT_ENDPOINT = "https://registry-1.docker.io"
TRIES = 5
"""Attempts at one blob; each goes on where the one before broke off."""
BACKOFF_S = 0.2
"""Pause before attempt n is BACKOFF_S * 2**n."""
CHUNK = 1 << 18
STALL_S = 60.0
"""A registry that sends nothing for so long has hung up."""
_BROKEN = (aiohttp.ClientError, TimeoutError, ConnectionError)


@dataclass(frozen=True, slots=True)
class RegistryEndpoint:
    """Where a registry is reached."""

    url: str
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Fetched:
    """A manifest as it came."""

    body: bytes
    digest: str
    media_type: str


class ManifestUnknown(NotFound):
    """The registry knows the repository but not this tag or digest."""


class AccessDenied(NotFound):
    """Docker says "not found" on purpose: the registry does not tell which it is."""


class RegistryClient:
    """One a daemon. Connections and tokens are kept between requests."""

    def __init__(self, config: DaemonConfig, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._config = config
        self._session = session
        self._clock = clock
        self._challenges: dict[str, Challenge | None] = {}
        self._unverified = ssl.create_default_context()
        self._unverified.check_hostname = False
        self._unverified.verify_mode = ssl.CERT_NONE
        self._chosen: dict[str, RegistryEndpoint] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, config: DaemonConfig, clock: Clock) -> AsyncIterator[RegistryClient]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=STALL_S)
        async with aiohttp.ClientSession(
            timeout=timeout,
            auto_decompress=False,
            trust_env=True,
            read_bufsize=1 << 20,
            headers={"User-Agent": "sampan", "Accept-Encoding": "identity"},
        ) as session:
            yield cls(config, session, clock)

    def session(
        self, reference: Reference, credentials: Credentials | None, *, push: bool = False
    ) -> RepositorySession:
        """Talk about one repository as somebody."""
        actions = "pull,push" if push else "pull"
        return RepositorySession(self, reference, credentials, actions)

    def endpoints(self, registry: str) -> list[RegistryEndpoint]:
        """In the order to try."""
        if registry == DEFAULT_REGISTRY:
            mirrors = [RegistryEndpoint(url.rstrip("/")) for url in self._config.registry_mirrors]
            return [*mirrors, RegistryEndpoint(DEFAULT_ENDPOINT)]
        if registry in self._chosen:
            return [self._chosen[registry]]
        if _is_insecure(registry, self._config.insecure_registries):
            return [
                RegistryEndpoint(f"https://{registry}", verify=False),
                RegistryEndpoint(f"http://{registry}"),
            ]
        return [RegistryEndpoint(f"https://{registry}")]

    async def reach(self, registry: str) -> list[RegistryEndpoint]:
        """The endpoints of ``registry`` that answer ``/v2/``, mirrors first.

        Raises:
            RegistryFailed: none does; the sentence is that of the last one tried.
        """
        failure: RegistryFailed | None = None
        found = []
        for endpoint in self.endpoints(registry):
            try:
                await self.challenge(endpoint)
                found.append(endpoint)
            except RegistryFailed as error:
                failure = error
        if not found:
            raise failure or RegistryFailed(f"registry {registry} has no address")
        if registry != DEFAULT_REGISTRY:
            self._chosen[registry] = found[0]
        return found

    async def challenge(self, endpoint: RegistryEndpoint) -> Challenge | None:
        """What the registry asks of us; None: nothing."""
        if endpoint.url not in self._challenges:
            url = f"{endpoint.url}/v2/"
            async with self.request(AuthRequest(url), endpoint) as reply:
                header = reply.headers.get("WWW-Authenticate", "")
                self._challenges[endpoint.url] = parse_challenge(header) if header else None
        return self._challenges[endpoint.url]

    @asynccontextmanager
    async def request(
        self,
        request: AuthRequest,
        endpoint: RegistryEndpoint,
        data: AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One exchange. Raises RegistryFailed in Docker's words when there is no answer."""
        verify = True if endpoint.verify else self._unverified
        try:
            async with self._session.request(
                request.method,
                request.url,
                headers=request.headers,
                data=data if data is not None else request.body or None,
                ssl=verify,
            ) as reply:
                yield reply
        except _BROKEN as error:
            raise RegistryFailed(_sentence(request, error)) from error

    def forget(self, registry: str) -> None:
        """Look for the registry anew the next time (it may have moved to TLS)."""
        endpoint = self._chosen.pop(registry, None)
        if endpoint is not None:
            self._challenges.pop(endpoint.url, None)

    async def token(
        self, endpoint: RegistryEndpoint, credentials: Credentials | None, scope: str
    ) -> str:
        """The ``Authorization`` header for ``scope``."""
        challenge = await self.challenge(endpoint)
        if challenge is None:
            return ""
        flow = authorize(challenge, credentials, scope)
        try:
            wanted = next(flow)
            while True:
                async with self.request(wanted, RegistryEndpoint("")) as answer:
                    body = await answer.content.read(LIMIT)
                    headers = {key.lower(): value for key, value in answer.headers.items()}
                    wanted = flow.send(Reply(answer.status, headers, body))
        except StopIteration as done:
            return str(done.value)

    async def pause(self, attempt: int) -> None:
        await self._clock.sleep(BACKOFF_S * 2**attempt)


class RepositorySession:
    """Requests about one repository. ``open`` first: it finds the endpoint that serves it."""

    def __init__(
        self,
        client: RegistryClient,
        reference: Reference,
        credentials: Credentials | None,
        actions: str,
    ) -> None:
        self._client = client
        self._reference = reference
        self._credentials = credentials
        self._scope = f"repository:{reference.repository}:{actions}"
        self._endpoint = RegistryEndpoint("")
        self._token = ""

    async def use(self, endpoint: RegistryEndpoint) -> None:
        self._endpoint = endpoint
        try:
            self._token = await self._client.token(endpoint, self._credentials, self._scope)
        except AuthRefused as error:
            raise self.denied(str(error)) from error

    def url(self, path: str) -> str:
        """Within the repository, or as it stands when it is a URL already."""
        base = f"{self._endpoint.url}/v2/{self._reference.repository}/"
        return urljoin(base, path) if not path.startswith("/") else self._endpoint.url + path

    @asynccontextmanager
    async def send(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        data: AsyncIterator[bytes] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """With our token, which is renewed once when it has expired."""
        for last in (False, True):
            sent = dict(headers or {})
            url = self.url(path)
            # A blob upload may be sent elsewhere: not our token, then.
            if self._token and urlsplit(url).netloc == urlsplit(self._endpoint.url).netloc:
                sent["Authorization"] = self._token
            async with self._client.request(
                AuthRequest(url, method, sent, body), self._endpoint, data
            ) as reply:
                if reply.status != 401 or last or data is not None:
                    yield reply
                    return
            await self.use(self._endpoint)

    async def manifest(self, which: str) -> Fetched:
        """By tag or digest. Its digest is computed, and must be the one asked for.

        Raises:
            ManifestUnknown, AccessDenied, BadLayer, RegistryFailed
        """
        async with self.send("GET", f"manifests/{which}", {"Accept": ACCEPT}) as reply:
            body = await _bounded(reply)
            if reply.status == 200:
                digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
                if ":" in which and which != digest:
                    raise BadLayer(f"manifest verification failed for digest {which}")
                return Fetched(body, digest, reply.headers.get("Content-Type", ""))
            raise self._refusal(reply.status, body, which)

    async def blob(self, digest: str, limit: int) -> bytes:
        """A small blob, verified."""
        async with aclosing(self.stream(digest, limit)) as stream:
            body = b"".join([chunk async for chunk in stream])
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise BadLayer(f"image config verification failed for digest {digest}")
        return body

    async def layers(self, manifest: Manifest, diff_ids: tuple[str, ...]) -> tuple[Descriptor, ...]:
        """The blobs that the manifest names."""
        return manifest.layers

    async def stream(self, digest: str, size: int) -> AsyncGenerator[bytes, None]:
        """A blob of ``size`` bytes, unverified. Goes on where a broken connection stopped.

        Raises:
            RegistryFailed: it broke off ``TRIES`` times, or sends something else than asked.
        """
        at = 0
        failure = "it sent nothing"
        for attempt in range(TRIES):
            if attempt:
                await self._client.pause(attempt)
            headers = {"Range": f"bytes={at}-"} if at else {}
            try:
                async with self.send("GET", f"blobs/{digest}", headers) as reply:
                    if reply.status not in (200, 206):
                        body = await _bounded(reply)
                        if reply.status < 500:
                            raise self._refusal(reply.status, body, digest)
                        failure = f"it answered {reply.status}"
                        continue
                    skip = at if reply.status == 200 else 0
                    async for chunk in reply.content.iter_chunked(CHUNK):
                        if skip:  # a registry without Range begins again
                            dropped = min(skip, len(chunk))
                            skip -= dropped
                            chunk = chunk[dropped:]
                        at += len(chunk)
                        if at > size:
                            raise BadLayer(f"blob {digest} is longer than its manifest says")
                        if chunk:
                            yield chunk
            except RegistryFailed as error:
                failure = str(error)
            if at == size:
                return
        raise RegistryFailed(
            f"registry {self._reference.registry} broke off blob {digest[:19]} after {at} of "
            f"{size} bytes, {TRIES} times in a row ({failure}): try again later"
        )

    def denied(self, why: str = "") -> AccessDenied:
        name = familiar_repository(self._reference)
        return AccessDenied(
            f"pull access denied for {name}, repository does not exist or may require "
            f"'docker login'{': ' + why if why else ''}"
        )

    def _refusal(self, status: int, body: bytes, which: str) -> Exception:
        name = familiar_repository(self._reference)
        codes = error_codes(body)
        detail = f": {codes}" if codes else ""
        if status in (401, 403):
            return self.denied(codes)
        if status == 404 and "NAME_UNKNOWN" in body.decode(errors="replace"):
            return (
                AccessDenied(
                    f"pull access denied for {name}, repository does not exist or may require "
                    "'docker login'"
                )
                if self._reference.registry == DEFAULT_REGISTRY
                else self._unknown(which)
            )
        if status == 404:
            return self._unknown(which)
        return RegistryFailed(
            f"registry {self._reference.registry} answered {status} for {name}{detail}"
        )

    def _unknown(self, which: str) -> ManifestUnknown:
        name = familiar_repository(self._reference)
        mark = "@" if ":" in which else ":"
        return ManifestUnknown(
            f"manifest for {name}{mark}{which} not found: manifest unknown: manifest unknown"
        )


def error_codes(body: bytes) -> str:
    """``denied: you may not`` of a registry's JSON error; empty when there is none."""
    try:
        errors = json.loads(body)["errors"]
        words = [
            f"{str(error['code']).lower().replace('_', ' ')}: {error.get('message', '')}"
            for error in errors
        ]
        return "; ".join(words)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""


async def _bounded(reply: aiohttp.ClientResponse) -> bytes:
    parts = []
    size = 0
    async for chunk in reply.content.iter_chunked(CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > LIMIT:
            raise RegistryFailed(f"the registry sent more than {LIMIT} bytes as a manifest")
    return b"".join(parts)


def _is_insecure(registry: str, listed: tuple[str, ...]) -> bool:
    if registry in listed:
        return True
    host = registry.rpartition(":")[0] if registry.rpartition(":")[2].isdigit() else registry
    host = host.strip("[]")
    if host == "localhost" or host in listed:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_loopback:
        return True
    for item in listed:
        try:
            if address in ipaddress.ip_network(item, strict=False):
                return True
        except ValueError:
            continue  # a host name, compared above
    return False


def _sentence(request: AuthRequest, error: BaseException) -> str:
    """In Go's words, which people search for."""
    what = f'{request.method.capitalize()} "{request.url}"'
    host = urlsplit(request.url)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"{what}: dial tcp: lookup {host.hostname}: no such host"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"{what}: x509: certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        port = host.port or (443 if host.scheme == "https" else 80)
        reason = (error.os_error.strerror or str(error.os_error)).lower()
        if isinstance(error.os_error, ConnectionRefusedError):
            reason = "connection refused"
        return f"{what}: dial tcp {host.hostname}:{port}: connect: {reason}"
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return f"{what}: net/http: request canceled (the registry stopped answering)"
    return f"{what}: {error or type(error).__name__}"
