"""Files in and out of containers: ``docker cp``, ``docker export``."""

from __future__ import annotations

import base64
import stat

import msgspec
from aiohttp import web

from sampan.api.call import COMMON_HEADERS, Call
from sampan.api.moments import rfc3339_ns
from sampan.api.router import Route
from sampan.engine.contract import PathStat

_HEADER = "X-Docker-Container-Path-Stat"
_GO_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_GO_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


class PathStatBody(msgspec.Struct, rename="camel"):
    """What the header says, base64-encoded."""

    name: str
    size: int
    mode: int
    mtime: str
    link_target: str


def go_mode(mode: int) -> int:
    """``st_mode`` as Go's ``os.FileMode``, which has its own bits for everything but rwx."""
    out = mode & 0o777 | _GO_KINDS.get(stat.S_IFMT(mode), 0)
    for bit, go_bit in _GO_BITS:
        if mode & bit:
            out |= go_bit
    return out


def encoded(found: PathStat) -> str:
    """For the header."""
    body = PathStatBody(
        name=found.name,
        size=found.size,
        mode=go_mode(found.mode),
        mtime=rfc3339_ns(found.mtime_ns),
        link_target=found.link_target,
    )
    return base64.b64encode(msgspec.json.encode(body)).decode()


async def stat_path(call: Call) -> web.StreamResponse:
    found = await call.services.engine.archive_stat(call.path["id"], call.needs("path"))
    return web.Response(headers={**COMMON_HEADERS, _HEADER: encoded(found)})


async def get_archive(call: Call) -> web.StreamResponse:
    got = call.services.engine.archive_get(call.path["id"], call.needs("path"))
    async with got as (found, chunks):
        response = await call.stream("application/x-tar", headers={_HEADER: encoded(found)})
        async for chunk in chunks:
            await response.write(chunk)
    return response


async def put_archive(call: Call) -> web.StreamResponse:
    await call.services.engine.archive_put(
        call.path["id"],
        call.needs("path"),
        call.request.content.iter_any(),
        keep_kinds=call.flag("noOverwriteDirNonDir"),
        container_owner=call.flag("copyUIDGID"),
    )
    return call.empty(200)


async def export(call: Call) -> web.StreamResponse:
    return await call.send_all(
        call.services.engine.export(call.path["id"]), "application/octet-stream"
    )


ROUTES = (
    Route("HEAD", "/containers/{id}/archive", stat_path),
    Route("GET", "/containers/{id}/archive", get_archive, streams=True),
    Route("PUT", "/containers/{id}/archive", put_archive, streams=True),
    Route("GET", "/containers/{id}/export", export, streams=True),
)
