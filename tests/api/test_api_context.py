"""Build contexts from tars that mean harm."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sampan.api.context import receive
from sampan.errors import InvalidArgument


def tar(*members: tuple[str, bytes | str | None, bytes]) -> bytes:
    """(name, contents or link, tar type) each."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, what, kind in members:
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.mtime = kind, 0o640, 1_000_000
            if isinstance(what, bytes):
                info.size = len(what)
                archive.addfile(info, io.BytesIO(what))
            else:
                info.linkname = what or ""
                archive.addfile(info)
    return out.getvalue()


async def body(data: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(data), 700):
        yield data[at : at + 700]


async def unpack(data: bytes, base: Path) -> Path:
    target = base / "context"
    await receive(body(data), target)
    assert set(os.listdir(base)) <= {"context", "victim"}
    return target


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
async def test_a_context_as_it_should_be(tmp_path: Path, compress: object) -> None:
    data = tar(
        ("./", None, tarfile.DIRTYPE),
        ("sub/deep/file", b"x" * 3000, tarfile.REGTYPE),
        ("link", "sub/deep/file", tarfile.SYMTYPE),
        ("hard", "sub/deep/file", tarfile.LNKTYPE),
        ("sub", None, tarfile.DIRTYPE),
        (".wh.name", b"plain", tarfile.REGTYPE),
        ("dev", None, tarfile.CHRTYPE),
    )
    target = await unpack(compress(data), tmp_path)  # type: ignore[operator]
    assert (target / "link").read_bytes() == b"x" * 3000
    assert (target / "hard").stat().st_ino == (target / "sub/deep/file").stat().st_ino
    assert (target / "hard").stat().st_mtime == 1_000_000
    assert (target / "sub").stat().st_mode & 0o777 == 0o640
    assert (target / ".wh.name").read_bytes() == b"plain"
    assert not (target / "dev").exists()


@pytest.mark.parametrize(
    "members",
    [
        [("../out", b"x", tarfile.REGTYPE)],
        [("a/../../out", b"x", tarfile.REGTYPE)],
        [("l", "/", tarfile.SYMTYPE), ("l/tmp/out", b"x", tarfile.REGTYPE)],
        [("l", "..", tarfile.SYMTYPE), ("l/out", b"x", tarfile.REGTYPE)],
        [("h", "../../etc/passwd", tarfile.LNKTYPE)],
        [("h", "missing", tarfile.LNKTYPE)],
        [("l", "/etc", tarfile.SYMTYPE), ("h", "l/passwd", tarfile.LNKTYPE)],
        [("f", b"x", tarfile.REGTYPE), ("f/below", b"x", tarfile.REGTYPE)],
        [("d/x", b"x", tarfile.REGTYPE), ("d", b"x", tarfile.REGTYPE)],
    ],
)
async def test_what_leads_out_is_an_error(
    tmp_path: Path, members: list[tuple[str, bytes | str | None, bytes]]
) -> None:
    with pytest.raises(InvalidArgument, match="not a usable tar"):
        await unpack(tar(*members), tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["context"]


async def test_absolute_names_are_taken_below(tmp_path: Path) -> None:
    target = await unpack(tar(("/etc/x", b"1", tarfile.REGTYPE)), tmp_path)
    assert (target / "etc/x").read_bytes() == b"1"


async def test_a_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    target = await unpack(
        tar(("f", str(victim), tarfile.SYMTYPE), ("f", b"evil", tarfile.REGTYPE)), tmp_path
    )
    assert victim.read_text() == "safe"
    assert (target / "f").read_bytes() == b"evil"


@pytest.mark.parametrize("data", [b"not a tar at all" * 100, tar(("f", b"x" * 9000, b"0"))[:4000]])
async def test_garbage(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InvalidArgument):
        await unpack(data, tmp_path)
