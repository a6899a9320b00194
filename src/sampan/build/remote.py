"""``ADD https://...``: a download into the daemon's scratch space, checked when a sum is given."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import aiohttp

from sampan.aio import in_thread, shielded
from sampan.build.contract import DockerfileError
from sampan.build.job import Job
from sampan.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Remote:
    path: str
    """On the host, under tmp; removed with the build."""
    name: str
    """The last part of the URL's path."""
    digest: str


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


async def fetch(job: Job, url: str, checksum: str) -> Remote:
    """Download ``url``. It is fetched at every build: only its content can say whether the cache
    holds.

    Raises:
        DockerfileError: no file name in the URL, or another checksum.
        Unavailable: the server did not deliver.
    """
    name = unquote(urlsplit(url).path).rpartition("/")[2]
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise DockerfileError(f"ADD failed: cannot determine filename from url: {url}")
    tmp = job.parts.config.paths.tmp
    await in_thread(tmp.mkdir, parents=True, exist_ok=True)
    path = str(tmp / f"build-{secrets.token_hex(12)}")
    job.remove_at_end(path)
    summed = hashlib.sha256()
    try:
        async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as reply:
            if reply.status != 200:
                raise Unavailable(f"ADD failed: {url}: the server said {reply.status}")
            # To its end when cancelled too: made after the build has removed it, it would stay.
            with await shielded(in_thread(open, path, "xb", 0)) as file:
                async for chunk in reply.content.iter_chunked(1 << 20):
                    summed.update(chunk)
                    await in_thread(file.write, chunk)
    except aiohttp.ClientError as error:
        raise Unavailable(f"ADD failed: {url}: {error}") from error
    digest = f"sha256:{summed.hexdigest()}"
    if checksum and checksum != digest:
        raise DockerfileError(f"ADD failed: {url}: digest is {digest}, expected {checksum}")
    await in_thread(os.chmod, path, 0o600)
    return Remote(path, name, digest)
