"""Files of a container: ``docker cp`` both ways, and ``export``."""

from __future__ import annotations

import base64
import stat

import msgspec
from aiohttp import web

from sampan.api.docker_request import DockerRequest
from sampan.api.routes.transfer import body_chunks
from sampan.api.timestamps import rfc3339_ns
from sampan.engine.contract import PathStat
from sampan.http.router import Route

_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class _PathStat(msgspec.Struct, rename="camel"):
    name: str
    size: int
    mode: int
    mtime: str
    link_target: str


def go_mode(mode: int) -> int:
    """``st_mode`` as Go's ``os.FileMode``, which is what clients decode."""
    flags = sum(go_bit for bit, go_bit in _GO_BITS if mode & bit)
    return (mode & 0o777) | _GO_KINDS.get(stat.S_IFMT(mode), 0) | flags


def stat_header(found: PathStat) -> dict[str, str]:
    """Base64 of JSON, because it travels in a header."""
    body = _PathStat(
        name=found.name,
        size=found.size,
        mode=go_mode(found.mode),
        mtime=rfc3339_ns(found.mtime_ns),
        link_target=found.link_target,
    )
    encoded = base64.b64encode(msgspec.json.encode(body)).decode()
    return {"X-Docker-Container-Path-Stat": encoded}


async def head(call: DockerRequest) -> web.Response:
    found = await call.services.engine.archive_stat(call.path["id"], call.needs("path"))
    return web.Response(headers={**call.headers, **stat_header(found)})


async def get(call: DockerRequest) -> web.StreamResponse:
    path = call.needs("path")
    async with call.services.engine.archive_get(call.path["id"], path) as (found, chunks):
        response = await call.stream("application/x-tar", headers=stat_header(found))
        async for chunk in chunks:
            await response.write(chunk)
        return response


async def put(call: DockerRequest) -> web.Response:
    await call.services.engine.archive_put(
        call.path["id"],
        call.needs("path"),
        body_chunks(call),
        keep_kinds=call.flag("noOverwriteDirNonDir"),
        container_owner=call.flag("copyUIDGID"),
    )
    return call.empty(200)


async def export(call: DockerRequest) -> web.StreamResponse:
    container = call.services.engine.get(call.path["id"])
    return await call.send_all(call.services.engine.export(container.id), "application/x-tar")


ROUTES = (
    Route("HEAD", "/containers/{id:path}/archive", head),
    Route("GET", "/containers/{id:path}/archive", get, streams=True),
    Route("PUT", "/containers/{id:path}/archive", put, streams=True),
    Route("GET", "/containers/{id:path}/export", export, streams=True),
)
