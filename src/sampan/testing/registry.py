"""Debian's own docker-registry on a free port, and images to put into it."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import socket
import tarfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

BINARY = "docker-registry"
DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Registry:
    url: str
    """``127.0.0.1:PORT``: what stands before a repository in a reference."""

    async def put(
        self,
        name: str,
        layers: Sequence[bytes],
        *,
        run: Mapping[str, object] | None = None,
    ) -> str:
        """Push an image made of layer tars as ``repository:tag``. Returns its id."""
        repository, _, tag = name.partition(":")
        async with aiohttp.ClientSession() as session:
            descriptors = []
            for layer in layers:
                body = gzip.compress(layer, 1, mtime=0)
                descriptors.append(await self._blob(session, repository, body))
            config = image_config(layers, run or {})
            config_descriptor = await self._blob(session, repository, config)
            body = manifest(config_descriptor, descriptors)
            url = f"http://{self.url}/v2/{repository}/manifests/{tag or 'latest'}"
            kind = {"Content-Type": "application/vnd.docker.distribution.manifest.v2+json"}
            async with session.put(url, data=body, headers=kind) as reply:
                assert reply.status == 201, await reply.text()
        return digest_of(config)

    async def _blob(
        self, session: aiohttp.ClientSession, repository: str, body: bytes
    ) -> tuple[str, int]:
        digest = digest_of(body)
        async with session.post(f"http://{self.url}/v2/{repository}/blobs/uploads/") as reply:
            assert reply.status == 202, await reply.text()
            where = reply.headers["Location"]
        mark = "&" if "?" in where else "?"
        async with session.put(f"{where}{mark}digest={digest}", data=body) as reply:
            assert reply.status == 201, await reply.text()
        return digest, len(body)


def digest_of(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def layer_tar(files: Mapping[str, str]) -> bytes:
    """A layer of plain files (a name that ends in "/" is a directory)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            body = content.encode()
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


def image_config(layers: Sequence[bytes], run: Mapping[str, object]) -> bytes:
    """A config for uncompressed layer tars."""
    return json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": "2026-01-02T03:04:05.678901234Z",
            "config": dict(run),
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
            "history": [{"created_by": "test"} for _ in layers],
        }
    ).encode()


def manifest(config: tuple[str, int], layers: Sequence[tuple[str, int]]) -> bytes:
    """A Docker schema 2 manifest of (digest, size) pairs."""
    docker = "application/vnd.docker"
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{docker}.distribution.manifest.v2+json",
            "config": {
                "mediaType": f"{docker}.container.image.v1+json",
                "digest": config[0],
                "size": config[1],
            },
            "layers": [
                {
                    "mediaType": f"{docker}.image.rootfs.diff.tar.gzip",
                    "digest": digest,
                    "size": size,
                }
                for digest, size in layers
            ],
        }
    ).encode()


@asynccontextmanager
async def registry(tmp: Path, *, htpasswd: str = "") -> AsyncIterator[Registry]:
    """Run it on 127.0.0.1 with its data below ``tmp``, until the block ends.

    Args:
        htpasswd: the accounts, as htpasswd -B writes them; none: everybody may do everything.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    os.makedirs(tmp, exist_ok=True)
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(tmp / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": f"127.0.0.1:{port}", "secret": "test"},
    }
    if htpasswd:
        (tmp / "htpasswd").write_text(htpasswd)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(tmp / "htpasswd")}}
    (tmp / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    with (tmp / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            BINARY, "serve", str(tmp / "config.yml"), stdout=log, stderr=log
        )
    try:
        await asyncio.wait_for(_answers(port), DEADLINE_S)
        yield Registry(f"127.0.0.1:{port}")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(port: int) -> None:
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        await writer.wait_closed()
        return
