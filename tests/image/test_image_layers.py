"""Layers: what a tar becomes, what a hostile one may not do, and the way back."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import random
import stat
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sampan.aio import SystemClock
from sampan.config import DaemonConfig, Paths
from sampan.errors import Exhausted
from sampan.image import ImageService, open_images
from sampan.image.config import chain_id
from sampan.image.contract import BadLayer, Image
from sampan.image.tar import ByteSource, Entry, Reader, header
from sampan.image.worker_frames import FRAME
from sampan.kernel.mount import mount, unmount
from sampan.testing.registry import digest_of, layer_tar
from sampan.testing.store import MemoryStore


def config(root: Path) -> DaemonConfig:
    return DaemonConfig(paths=Paths(root, root / "state"))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ImageService]:
    async with open_images(config(tmp_path / "root"), MemoryStore(), SystemClock()) as opened:
        yield opened
        for key in await opened.snapshots.keys():
            await opened.snapshots.remove(key)


async def chunks(body: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


def made(
    write: Callable[[tarfile.TarFile], None], kind: int = tarfile.PAX_FORMAT, mode: str = "w"
) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=kind) as tar:  # type: ignore[call-overload]
        write(tar)
    return out.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **facts: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in facts.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


async def root_of(service: ImageService, image: Image, key: str = "k") -> Path:
    await service.snapshots.prepare(key, chain_id(image.layers))
    return await service.snapshots.mount(key)


def everything(tar: tarfile.TarFile) -> None:
    add(tar, "d", type=tarfile.DIRTYPE, mode=0o2750, uid=5, gid=6, mtime=1_000_000_000)
    add(tar, "d/suid", b"x", mode=0o4755, uid=7, gid=8, mtime=1_234_567_890.25)
    add(tar, "d/hard", type=tarfile.LNKTYPE, linkname="d/suid")
    add(tar, "d/soft", type=tarfile.SYMTYPE, linkname="/nowhere/at/all", uid=9)
    add(tar, "d/pipe", type=tarfile.FIFOTYPE, mode=0o620)
    add(tar, "d/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
    add(tar, "d/" + "long" * 60, b"y" * 70_000)
    add(tar, "d/" + "long" * 60 + "l", type=tarfile.SYMTYPE, linkname="z" * 300)
    add(tar, "ümläut", b"z", uid=3_000_000)
    add(tar, "attr", b"1", pax_headers={"SCHILY.xattr.user.note": "hello"})


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
async def test_everything_that_a_file_system_has(service: ImageService, kind: int) -> None:
    image = await service.images.import_rootfs(chunks(made(everything, kind)))
    root = await root_of(service, image)
    d = (root / "d").stat()
    assert (stat.S_IMODE(d.st_mode), d.st_uid, d.st_gid, d.st_mtime) == (0o2750, 5, 6, 1e9)
    suid = (root / "d/suid").stat()
    assert (stat.S_IMODE(suid.st_mode), suid.st_uid, suid.st_gid) == (0o4755, 7, 8)
    assert suid.st_ino == (root / "d/hard").stat().st_ino
    assert os.readlink(root / "d/soft") == "/nowhere/at/all"
    assert (root / "d/soft").lstat().st_uid == 9
    assert stat.S_ISFIFO((root / "d/pipe").stat().st_mode)
    assert (root / "d/null").stat().st_rdev == os.makedev(1, 3)
    assert (root / "d" / ("long" * 60)).stat().st_size == 70_000
    assert os.readlink(root / "d" / ("long" * 60 + "l")) == "z" * 300
    assert (root / "ümläut").stat().st_uid == 3_000_000
    if kind == tarfile.PAX_FORMAT:
        assert suid.st_mtime == 1_234_567_890.25
        assert os.getxattr(root / "attr", "user.note") == b"hello"


def _two_members(body: bytes) -> bytes:
    return gzip.compress(body[:999]) + gzip.compress(body[999:])


@pytest.mark.parametrize("pack", [bytes, gzip.compress, _two_members])
async def test_save_gives_the_tar_back_byte_for_byte(
    service: ImageService, pack: Callable[[bytes], bytes]
) -> None:
    body = made(everything, tarfile.GNU_FORMAT) + b"\0" * 512 + b"trailing"
    image = await service.images.import_rootfs(chunks(pack(body)), ref="x")
    assert image.layers == (digest_of(body),)
    saved = b"".join([chunk async for chunk in service.images.save(["x"])])
    with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
        blob = tar.extractfile(f"blobs/sha256/{digest_of(body)[7:]}")
        assert blob is not None
        assert blob.read() == body


async def test_a_commit_can_be_saved_and_unpacked_again(service: ImageService) -> None:
    base = await service.images.import_rootfs(chunks(made(everything)))
    root = await root_of(service, base)
    (root / "d/suid").unlink()
    (root / "new").mkdir()
    (root / "new/file").write_bytes(os.urandom(100_000))
    os.setxattr(root / "new/file", "user.a", b"\0\1")
    parent = chain_id(base.layers)
    chain, diff_id = await service.snapshots.commit("k")
    image_config: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [*base.layers, diff_id]},
    }
    image = await service.images.create(config=image_config, layers=[*base.layers, diff_id])
    assert chain_id(image.layers) == chain != parent
    service.images.tag(image.id, "made:1")
    saved = b"".join([chunk async for chunk in service.images.save(["made:1"])])
    assert await service.images.load(chunks(saved)) == ["made:1"]
    await service.images.remove("made:1", in_use=lambda _: None)
    await service.images.remove(base.id, in_use=lambda _: None)
    assert await service.images.load(chunks(gzip.compress(saved, 1))) == ["made:1"]
    root = await root_of(service, service.images.get("made:1"))
    assert not (root / "d/suid").exists()
    assert (root / "d/hard").exists()
    assert os.getxattr(root / "new/file", "user.a") == b"\0\1"


async def skopeo_copy(source: str, target: str) -> None:
    process = await asyncio.create_subprocess_exec(
        "skopeo", "--insecure-policy", "copy", "-q", source, target, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said


async def test_other_tools_read_what_we_save(service: ImageService, tmp_path: Path) -> None:
    await service.images.import_rootfs(chunks(layer_tar({"a": "1"})), ref="x:1")
    saved = b"".join([chunk async for chunk in service.images.save(["x:1"])])
    (tmp_path / "x.tar").write_bytes(saved)
    for source in (f"docker-archive:{tmp_path}/x.tar", f"oci-archive:{tmp_path}/x.tar"):
        await skopeo_copy(source, f"oci:{tmp_path}/{source.partition(':')[0]}:x")
    # And we read what they write.
    await skopeo_copy(f"docker-archive:{tmp_path}/x.tar", f"docker-archive:{tmp_path}/y.tar:y:2")
    body = (tmp_path / "y.tar").read_bytes()
    assert await service.images.load(chunks(body)) == ["y:2"]


# ---------------------------------------------------------------- hostile tars


def _up(tar: tarfile.TarFile) -> None:
    add(tar, "../../../../../../outside/x", b"evil")


def _absolute(tar: tarfile.TarFile) -> None:
    add(tar, "OUTSIDE/x", b"evil")


def _through_a_link(tar: tarfile.TarFile) -> None:
    add(tar, "door", type=tarfile.SYMTYPE, linkname="OUTSIDE")
    add(tar, "door/x", b"evil")


def _over_a_link(tar: tarfile.TarFile) -> None:
    add(tar, "door", type=tarfile.SYMTYPE, linkname="OUTSIDE/x")
    add(tar, "door", b"evil")


def _relative_link(tar: tarfile.TarFile) -> None:
    add(tar, "a", type=tarfile.SYMTYPE, linkname="../" * 40 + "OUTSIDE")
    add(tar, "a/x", b"evil")


def _directory_over_a_link(tar: tarfile.TarFile) -> None:
    add(tar, "door", type=tarfile.SYMTYPE, linkname="OUTSIDE")
    add(tar, "door", type=tarfile.DIRTYPE, mode=0o777)
    add(tar, "door/x", b"evil")


def _whiteout_through_a_link(tar: tarfile.TarFile) -> None:
    add(tar, "door", type=tarfile.SYMTYPE, linkname="OUTSIDE")
    add(tar, "door/.wh.victim")
    add(tar, "door/.wh..wh..opq")


@pytest.mark.parametrize(
    "write",
    [_up, _absolute, _through_a_link, _over_a_link, _relative_link, _directory_over_a_link,
     _whiteout_through_a_link],
)  # fmt: skip
async def test_nothing_is_written_outside(
    service: ImageService, tmp_path: Path, write: Callable[[tarfile.TarFile], None]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("safe")
    before = outside.stat().st_mode

    def aimed(tar: tarfile.TarFile) -> None:
        plain = tar.addfile

        def addfile(info: tarfile.TarInfo, body: io.BytesIO | None = None) -> None:
            info.name = info.name.replace("OUTSIDE", str(outside))
            info.linkname = info.linkname.replace("OUTSIDE", str(outside))
            plain(info, body)

        tar.addfile = addfile  # type: ignore[method-assign, assignment]
        write(tar)

    with suppress(BadLayer):  # refused is as good as confined
        await service.images.import_rootfs(chunks(made(aimed)))
    assert os.listdir(outside) == ["victim"]
    assert (outside / "victim").read_text() == "safe"
    assert outside.stat().st_mode == before


async def test_a_hard_link_cannot_reach_outside(service: ImageService, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("1")
    target = str(tmp_path / "secret")
    body = made(lambda tar: add(tar, "x", type=tarfile.LNKTYPE, linkname=target))
    with pytest.raises(BadLayer):
        await service.images.import_rootfs(chunks(body))


@pytest.mark.parametrize("name", [".wh.", ".wh..", ".wh...", "d/.wh..."])
async def test_whiteouts_of_nothing(service: ImageService, name: str) -> None:
    with pytest.raises(BadLayer, match="invalid whiteout"):
        await service.images.import_rootfs(chunks(made(lambda tar: add(tar, name))))


async def test_overlays_own_attributes_are_not_taken(service: ImageService) -> None:
    headers = {"SCHILY.xattr.trusted.overlay.redirect": "/etc"}
    body = made(lambda tar: add(tar, "d", type=tarfile.DIRTYPE, mode=0o755, pax_headers=headers))
    image = await service.images.import_rootfs(chunks(body))
    root = await root_of(service, image)
    assert os.listdir(root / "d") == []


@pytest.mark.parametrize("cut", [1, 511, 700, 5_000])
async def test_cut_short(service: ImageService, tmp_path: Path, cut: int) -> None:
    body = layer_tar({"a": "x" * 20_000})[:cut]
    for packed in (body, gzip.compress(layer_tar({"a": os.urandom(9000).hex()}))[:-cut]):
        with pytest.raises(BadLayer):
            await service.images.import_rootfs(chunks(packed))
    assert os.listdir(tmp_path / "root/layers") == os.listdir(tmp_path / "root/tmp") == []


async def test_noise(service: ImageService) -> None:
    noise = random.Random(1)
    good = made(everything)
    for _ in range(20):
        body = bytearray(good)
        for _ in range(5):
            body[noise.randrange(3 * 512)] = noise.randrange(256)
        try:
            await service.images.import_rootfs(chunks(bytes(body)))
        except BadLayer:
            continue


async def test_whiteouts_become_overlays_and_come_back(service: ImageService) -> None:
    base = layer_tar({"d/": "", "d/a": "1", "e/": "", "e/b": "2", "gone": "3"})
    opaque = {"d/": "", "d/.wh..wh..opq": "", "d/c": "4"}
    top = layer_tar({".wh.gone": "", **opaque, ".wh.e": "", "e/": "", "e/n": "5"})
    low = await service.images.import_rootfs(chunks(base), ref="low")
    high = await service.images.import_rootfs(chunks(top), ref="high")
    stacked = [*low.layers, *high.layers]
    blob: dict[str, object] = {"rootfs": {"type": "layers", "diff_ids": stacked}}
    # The upper layer is here only over nothing: an archive brings it over the lower one.
    config_ = service.images.config(high)
    assert config_.diff_ids == high.layers
    with pytest.raises(BadLayer):
        await service.images.create(config=blob, layers=stacked)
    archive = _docker_archive([base, top])
    (name,) = await service.images.load(chunks(archive))
    root = await root_of(service, service.images.get(name))
    assert sorted(os.listdir(root)) == ["d", "e"]
    assert os.listdir(root / "d") == ["c"]
    assert os.listdir(root / "e") == ["n"]


def _docker_archive(layers: list[bytes]) -> bytes:

    blob = json.dumps(
        {"rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}
    ).encode()
    names = [f"{n}/layer.tar" for n in range(len(layers))]
    listed = json.dumps([{"Config": "c.json", "RepoTags": ["both:1"], "Layers": names}]).encode()

    def write(tar: tarfile.TarFile) -> None:
        for name, layer in zip(names, layers, strict=True):
            add(tar, name, layer)
        add(tar, "c.json", blob)
        add(tar, "manifest.json", listed)

    return made(write)


# ---------------------------------------------------------------- disks and restarts


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    target = tmp_path / "small"
    target.mkdir()
    mount("tmpfs", target, "tmpfs", 0, "size=4m,nr_inodes=200")
    yield target
    unmount(target, lazy=True)


@pytest.mark.parametrize("files", [{"big": "x" * 8_000_000}, {str(n): "" for n in range(500)}])
async def test_a_full_disk(small_disk: Path, files: dict[str, str]) -> None:
    async with open_images(config(small_disk), MemoryStore(), SystemClock()) as service:
        with pytest.raises(Exhausted, match="no space left on device") as caught:
            await service.images.import_rootfs(chunks(gzip.compress(layer_tar(files))))
        assert str(small_disk) in str(caught.value)
        assert os.listdir(small_disk / "tmp") == os.listdir(small_disk / "layers") == []
        # And it goes on.
        await service.images.import_rootfs(chunks(layer_tar({"a": "1"})))


async def test_debris_is_swept_at_start(tmp_path: Path) -> None:
    store = MemoryStore()
    root = tmp_path / "root"
    async with open_images(config(root), store, SystemClock()) as service:
        image = await service.images.import_rootfs(chunks(layer_tar({"a": "1"})))
        kept = os.listdir(root / "layers")
        await service.snapshots.prepare("k", "")
        await service.snapshots.commit("k")  # a layer with a row that no image has
    for debris in ("layers/half/diff", "tmp/x/y", "blobs/sha256"):
        (root / debris).mkdir(parents=True)
    async with open_images(config(root), store, SystemClock()) as service:
        assert service.images.get(image.id) == image
        assert os.listdir(root / "layers") == kept
        assert os.listdir(root / "tmp") == os.listdir(root / "blobs") == []


def test_headers_are_what_tarfile_reads() -> None:
    entry = Entry("é/".encode() + b"n" * 200, b"0", 0o6711, 1 << 30, 77, 3, -5_500_000_000)
    entry.xattrs = {b"user.x": b"\0=\n"}
    body = header(entry) + b"abc" + bytes(509 + 1024)
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        (member,) = tar.getmembers()
    assert member.name == "é/" + "n" * 200
    assert (member.mode, member.uid, member.gid, member.size) == (0o6711, 1 << 30, 77, 3)
    assert member.mtime == -5.5
    again = Reader(ByteSource(iter([body]))).next()
    assert again == entry


async def test_a_worker_ends_with_its_daemon(tmp_path: Path) -> None:
    """Also in the middle of a job that needs nothing more from it."""
    os.mkfifo(tmp_path / "endless")
    (tmp_path / "target").mkdir()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "sampan.image.worker", stdin=asyncio.subprocess.PIPE
    )
    job = {"job": "unpack", "target": str(tmp_path / "target"), "recipe": str(tmp_path / "recipe")}
    body = json.dumps(job | {"path": str(tmp_path / "endless"), "offset": 0, "size": 9}).encode()
    assert process.stdin is not None
    process.stdin.write(FRAME.pack(b"J", len(body)) + body)
    await process.stdin.drain()
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 10) != 0
