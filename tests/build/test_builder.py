"""The executor, on parts without a kernel."""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from build_fakes import PlainImages, PlainSnapshots, Shell

from sampan.aio import SystemClock, Tasks, in_thread
from sampan.build.builder import LocalBuilder, open_builder
from sampan.build.contract import BuildFailed, BuildOutput, BuildRequest, DockerfileError
from sampan.config import DaemonConfig, Paths
from sampan.errors import Unavailable, Unsupported
from sampan.image.contract import BadReference, Credentials, ImageConfig, ImageUser, NoSuchImage
from sampan.store.records import Network
from sampan.testing.networks import FakeNetworks
from sampan.testing.runs import FakeRuns
from sampan.testing.store import MemoryStore


@dataclass
class Bench:
    builder: LocalBuilder
    store: MemoryStore
    images: PlainImages
    snapshots: PlainSnapshots
    runs: FakeRuns
    shell: Shell
    networks: FakeNetworks
    context: Path
    tmp: Path
    said: list[BuildOutput] = field(default_factory=list)

    async def build(self, dockerfile: str, /, **request: Any) -> str:
        (self.context / "Dockerfile").write_text(dockerfile)
        self.said.clear()
        wanted = BuildRequest(context=self.context, **request)
        return await self.builder.build(wanted, self.said.append)

    @property
    def text(self) -> str:
        return "".join(output.text for output in self.said)

    def config(self, image_id: str) -> ImageConfig:
        return self.images.config(self.store.images[image_id])

    def files(self, image_id: str) -> list[str]:
        root = self.snapshots.files(self.store.images[image_id])
        return sorted(str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir())

    def nothing_is_left(self) -> bool:
        scratch = list(self.tmp.iterdir()) if self.tmp.exists() else []
        return not (self.snapshots.open or self.runs.runs or self.networks.sandboxes or scratch)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store, networks, runs = MemoryStore(), FakeNetworks(), FakeRuns()
    bridge = await networks.create(
        Network(id="b" * 64, name="bridge", driver="bridge", created_at=0, predefined=True)
    )
    store.transact(lambda tx: tx.networks.put(bridge))
    snapshots = PlainSnapshots(store, tmp_path / "snapshots")
    images = PlainImages(store, snapshots)
    config = DaemonConfig(paths=Paths(tmp_path / "root", tmp_path / "state"))
    context = tmp_path / "context"
    context.mkdir()
    await snapshots.prepare("base", "")
    root = await snapshots.mount("base")
    for name in ("etc", "proc", "sys", "dev"):
        (root / name).mkdir()
    for name in ("hosts", "hostname", "resolv.conf"):
        (root / "etc" / name).touch()
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:5:5::/srv/app:/bin/sh\n")
    _, diff_id = await snapshots.commit("base")
    base = await images.create(
        config={
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["BASE=1"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "history": [{"created_by": "import"}],
        },
        layers=[diff_id],
    )
    images.tag(base.id, "base")
    async with open_builder(
        config,
        store=store,
        images=images,  # type: ignore[arg-type]
        snapshots=snapshots,  # type: ignore[arg-type]
        runs=runs,
        networks=networks,
        clock=SystemClock(),
    ) as builder:
        yield Bench(
            builder,
            store,
            images,
            snapshots,
            runs,
            Shell(runs),
            networks,
            context,
            config.paths.tmp,
        )
    await runs.close()


async def test_a_build_in_the_classic_builders_words(bench: Bench) -> None:
    (bench.context / "f").write_text("hello")
    image_id = await bench.build(
        "FROM base\nENV A=b\nCOPY f /f\nRUN cat /f\nCMD x\n", tags=("app", "other:2")
    )
    lines = bench.text.splitlines()
    assert [line for line in lines if line.startswith("Step")] == [
        "Step 1/5 : FROM base",
        "Step 2/5 : ENV A=b",
        "Step 3/5 : COPY f /f",
        "Step 4/5 : RUN cat /f",
        "Step 5/5 : CMD x",
    ]
    short = image_id.removeprefix("sha256:")[:12]
    assert lines[1].startswith(" ---> ")
    assert " ---> Running in " in bench.text
    assert "hello" in bench.text
    assert lines[-4:] == [
        f" ---> {short}",
        f"Successfully built {short}",
        "Successfully tagged app:latest",
        "Successfully tagged other:2",
    ]
    assert bench.said[-1].image_id == image_id == bench.images.get("app").id
    assert bench.nothing_is_left()


async def test_config_and_history(bench: Bench) -> None:
    image_id = await bench.build(
        "FROM base\nARG V=1\nENV A=$V\nRUN touch /x\nWORKDIR /w\nWORKDIR sub\nCMD run\n",
        build_args={"V": "2"},
        labels={"l": "m"},
    )
    config = bench.config(image_id)
    assert config.env[0] == "BASE=1"
    assert config.env[2] == "A=2"
    assert config.cmd == ("/bin/sh", "-c", "run")
    assert (config.working_dir, config.labels) == ("/w/sub", {"l": "m"})
    assert [(e["created_by"], e.get("empty_layer", False)) for e in config.history] == [
        ("import", False),
        ("/bin/sh -c #(nop)  ARG V=1", True),
        ("/bin/sh -c #(nop)  ENV A=2", True),
        ("|1 V=2 /bin/sh -c touch /x", False),
        ("/bin/sh -c #(nop) WORKDIR /w", False),
        ("/bin/sh -c #(nop) WORKDIR /w/sub", False),
        ('/bin/sh -c #(nop)  CMD ["/bin/sh", "-c", "run"]', True),
        ("/bin/sh -c #(nop)  LABEL l=m", True),
    ]
    assert len(config.diff_ids) == 4
    assert "Step 8/8 : LABEL l=m" in bench.text


async def test_a_workdir_that_exists_makes_no_layer(bench: Bench) -> None:
    image_id = await bench.build("FROM base\nWORKDIR /etc\n")
    assert len(bench.config(image_id).diff_ids) == 1
    assert bench.nothing_is_left()


async def test_the_same_again_comes_from_the_cache(bench: Bench) -> None:
    (bench.context / "f").write_text("1")
    text = "FROM base\nENV A=b\nCOPY f /f\nRUN cat /f\nCMD x\n"
    first = await bench.build(text)
    ran = len(bench.shell.specs)
    prepared = bench.snapshots.prepared
    second = await bench.build(text)
    assert second == first
    assert (len(bench.shell.specs), bench.snapshots.prepared) == (ran, prepared)
    assert bench.text.count(" ---> Using cache\n") == 4
    (bench.context / "f").write_text("2")
    third = await bench.build(text)
    assert third != first
    assert bench.text.count(" ---> Using cache\n") == 0
    fourth = await bench.build(text, no_cache=True)
    assert fourth != third
    assert await bench.build(text) == fourth


@pytest.mark.parametrize(
    ("before", "after", "hits"),
    [
        ("RUN touch /a", "RUN touch /b", False),
        ("ENV A=1\nRUN touch /a", "ENV A=2\nRUN touch /a", False),
        ('RUN ["sh", "-c", "touch /a"]', "RUN touch /a", False),
        ("USER app\nRUN touch /a", "USER 5\nRUN touch /a", False),
        ("WORKDIR /a\nRUN touch /a/x", "WORKDIR /b\nRUN touch /a", False),
        ("RUN  touch /a", "run touch /a", True),
        ("RUN touch /a\nENV A=1", "RUN touch /a\nENV A=2", True),
    ],
)
async def test_what_a_key_depends_on(bench: Bench, before: str, after: str, hits: bool) -> None:
    await bench.build(f"FROM base\n{before}\n")
    try:
        await bench.build(f"FROM base\n{after}\n")
    except FileNotFoundError:
        pytest.fail("a step ran without what the one before made")
    assert ("Using cache" in bench.text) is hits


async def test_build_args_count_where_they_are_used(bench: Bench) -> None:
    text = "FROM base\nRUN touch /a\nARG V\nRUN touch /b\n"
    await bench.build(text, build_args={"V": "1"})
    await bench.build(text, build_args={"V": "2"})
    assert bench.text.count("Using cache") == 1
    await bench.build(text, build_args={"V": "2", "HTTP_PROXY": "http://p"})
    assert bench.text.count("Using cache") == 3


async def test_what_a_run_sees(bench: Bench) -> None:
    await bench.build(
        "FROM base\nARG V=1\nARG A=arg\nENV A=env\nUSER app\nWORKDIR /srv\nRUN env\n",
        build_args={"HTTP_PROXY": "p", "LOOSE": "x"},
        memory=1 << 26,
        shm_size=1 << 20,
        extra_hosts=("h:10.0.0.1",),
    )
    spec = bench.shell.specs[0]
    env = dict(item.split("=", 1) for item in spec.env)
    assert (env["V"], env["A"], env["HTTP_PROXY"], env["BASE"]) == ("1", "env", "p", "1")
    assert (env["HOME"], env["HOSTNAME"]) == ("/srv/app", spec.hostname)
    assert "LOOSE" not in env
    assert (spec.user, spec.working_dir, spec.open_stdin) == ("app", "/srv", False)
    assert spec.host.resources.memory == 1 << 26
    assert spec.host.shm_size == 1 << 20
    assert set(spec.etc_files) == {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    assert "[Warning] One or more build-args [LOOSE] were not consumed\n" in bench.text


async def test_mount_points_that_only_the_runtime_made_are_no_layer(bench: Bench) -> None:
    (bench.context / "sh").write_text("")

    async def program(process: object) -> int:
        root = next(iter(bench.runs.runs.values())).spec.rootfs
        for name in ("etc", "proc", "sys", "dev"):
            (root / name).mkdir()
        for name in ("hosts", "hostname", "resolv.conf"):
            (root / "etc" / name).touch()
        (root / "etc/mine").touch()
        return 0

    bench.runs.programs["tool"] = program
    image_id = await bench.build('FROM scratch\nCOPY sh /bin/tool\nRUN ["/bin/tool"]\n')
    assert bench.files(image_id) == ["bin/tool", "etc/mine"]


async def test_network_modes(bench: Bench) -> None:
    text = "FROM base\nRUN touch /a\nRUN --network=none touch /b\nRUN --network=host touch /c\n"
    await bench.build(text)
    first, second, third = bench.shell.specs
    assert first.netns != second.netns
    assert third.netns == "host"
    await bench.build("FROM base\nRUN touch /d\nRUN touch /e\n", network_mode="none")
    assert bench.shell.specs[3].netns == bench.shell.specs[4].netns
    assert not bench.networks.endpoints
    assert bench.nothing_is_left()


# -- stages


async def test_multi_stage(bench: Bench) -> None:
    text = (
        "FROM base AS one\nRUN write /out 1\nFROM base AS unused\nRUN exit 9\n"
        "FROM one AS two\nRUN cat /out\n"
        "FROM scratch\nCOPY --from=one /out /a\nCOPY --from=2 out /b\n"
        "COPY --from=base /etc/passwd /p\n"
    )
    image_id = await bench.build(text)
    assert bench.files(image_id) == ["a", "b", "p"]
    assert "exit 9" not in bench.text
    steps = [line.split()[1] for line in bench.text.splitlines() if line.startswith("Step")]
    assert steps == [f"{n}/8" for n in range(1, 9)]
    prepared = bench.snapshots.prepared
    assert await bench.build(text) == image_id
    assert bench.snapshots.prepared == prepared
    assert bench.nothing_is_left()


async def test_a_rebuilt_stage_with_the_same_files_still_hits(bench: Bench) -> None:
    text = (
        "FROM base AS one\nRUN write /log {} && write /out 1\n"
        "FROM scratch\nCOPY --from=one /out /\n"
    )
    await bench.build(text.format("x"))
    await bench.build(text.format("y"))
    assert bench.text.count("Using cache") == 1


async def test_independent_stages_run_at_once(bench: Bench) -> None:
    meeting = asyncio.Barrier(2)

    async def meet(process: object) -> int:
        await asyncio.wait_for(meeting.wait(), 20)
        return 0

    bench.runs.programs["meet"] = meet
    await bench.build(
        'FROM base AS a\nRUN ["meet"]\nFROM base AS b\nRUN ["meet"]\n'
        "FROM scratch\nCOPY --from=a /etc /a\nCOPY --from=b /etc /b\n"
    )
    assert bench.nothing_is_left()


async def test_target(bench: Bench) -> None:
    text = "FROM base AS one\nRUN touch /x\nFROM base\nRUN exit 1\n"
    assert "x" in bench.files(await bench.build(text, target="one"))


async def test_onbuild(bench: Bench) -> None:
    (bench.context / "f").write_text("")
    child = await bench.build(
        "FROM base\nONBUILD COPY f /f\nONBUILD RUN touch /g\n", tags=("trigger",)
    )
    assert bench.config(child).on_build == ("COPY f /f", "RUN touch /g")
    image_id = await bench.build("FROM trigger\nRUN touch /h\n")
    assert "# Executing 2 build triggers\n" in bench.text
    assert {"f", "g", "h"} <= set(bench.files(image_id))
    assert bench.config(image_id).on_build is None


async def test_heredocs(bench: Bench) -> None:
    image_id = await bench.build(
        "FROM base\nENV v=1\nCOPY <<one <<'two' /d/\n$v\none\n$v\ntwo\nRUN <<EOF\ntouch /x\nEOF\n"
    )
    root = bench.snapshots.files(bench.store.images[image_id])
    assert (root / "d/one").read_text() == "1\n"
    assert (root / "d/two").read_text() == "$v\n"
    assert (root / "x").exists()


async def test_scripts_run_by_their_interpreter(bench: Bench) -> None:
    seen: list[str] = []

    async def script(process: object) -> int:
        spec = next(iter(bench.runs.runs.values())).spec
        seen.append(await in_thread(Path(spec.mounts[0].source).read_text))
        return 0

    bench.runs.programs["EOF"] = script
    await bench.build("FROM base\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n")
    assert seen == ["#!/usr/bin/env python3\nprint(1)\n"]


async def test_mounts(bench: Bench) -> None:
    (bench.context / "src").mkdir()
    (bench.context / "src/f").write_text("1")
    text = (
        "FROM base AS one\nRUN touch /made\nFROM base\nWORKDIR /w\n"
        "RUN --mount=target=src,source=src --mount=type=cache,target=/cache,id=pip "
        "--mount=from=one,source=/made,target=/made --mount=type=tmpfs,target=/t touch /a\n"
    )
    await bench.build(text)
    points = {point.target: point for point in bench.shell.specs[-1].mounts}
    assert points["/w/src"].source == str(bench.context / "src")
    assert not points["/w/src"].read_write
    assert points["/cache"].read_write
    assert await in_thread(os.path.isdir, points["/cache"].source)
    assert points["/made"].source.endswith("/made")
    assert points["/t"].type == "tmpfs"
    await bench.build(text)
    assert bench.text.count("Using cache") == 3
    (bench.context / "src/f").write_text("2")
    await bench.build(text)
    assert bench.text.count("Using cache") == 2
    (bench.context / ".dockerignore").write_text("src/f")
    await bench.build(text)
    shown = bench.shell.specs[-1].mounts
    assert str(bench.context / "src") not in [point.source for point in shown]
    assert bench.nothing_is_left()
    await bench.builder.prune(all=True)
    assert not await in_thread(os.path.lexists, points["/cache"].source)


# -- ADD


async def test_add_unpacks_local_archives_only(bench: Bench) -> None:
    (bench.context / "plain").write_text("not an archive")
    inner = bench.context / "inner"
    inner.mkdir()
    (inner / "f").write_text("f")
    with tarfile.open(bench.context / "a.tar.gz", "w:gz") as archive:
        archive.add(inner, "sub")
    image_id = await bench.build(
        "FROM scratch\nADD a.tar.gz /x\nADD plain /y/\nCOPY a.tar.gz /z/\nADD inner /w\n"
    )
    assert bench.files(image_id) == ["w/f", "x/sub/f", "y/plain", "z/a.tar.gz"]


async def test_add_downloads_and_checks(bench: Bench) -> None:
    bodies = {"/d/f.txt": b"one"}

    async def serve(request: web.Request) -> web.Response:
        body = bodies.get(request.path)
        return web.Response(body=body) if body else web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        text = f"FROM scratch\nADD {base}/d/f.txt /x/\n"
        first = await bench.build(text)
        assert bench.files(first) == ["x/f.txt"]
        assert await bench.build(text) == first
        bodies["/d/f.txt"] = b"two"
        assert await bench.build(text) != first
        with pytest.raises(Unavailable, match="the server said 404"):
            await bench.build(f"FROM scratch\nADD {base}/none /x\n")
        wrong = "sha256:" + "0" * 64
        with pytest.raises(DockerfileError, match=f"expected {wrong}"):
            await bench.build(f"FROM scratch\nADD --checksum={wrong} {base}/d/f.txt /x\n")
        with pytest.raises(DockerfileError, match="cannot determine filename from url"):
            await bench.build(f"FROM scratch\nADD {base}/ /x\n")
    finally:
        await runner.cleanup()
    assert bench.nothing_is_left()


# -- bases


async def test_a_missing_base_is_pulled_with_its_credentials(bench: Bench) -> None:
    base = bench.images.get("base")
    bench.images.registry["reg:5000/x:1"] = base
    login = Credentials("u", "p")
    await bench.build("FROM reg:5000/x:1\nENV A=b\n", credentials={"reg:5000": login})
    assert bench.images.pulls == [("reg:5000/x:1", login, "")]
    with pytest.raises(NoSuchImage):
        await bench.build("FROM nothere\n")
    bench.images.registry["base"] = base
    await bench.build("FROM base\nENV A=b\n", pull=True)
    assert len(bench.images.pulls) == 3


async def test_another_platform_is_pulled(bench: Bench) -> None:
    await bench.build("FROM --platform=linux/amd64 base\nENV A=b\n")
    assert not bench.images.pulls
    with pytest.raises(NoSuchImage):
        await bench.build("FROM --platform=linux/arm64 base\n")
    assert bench.images.pulls == [("base", None, "linux/arm64")]


async def test_scratch_with_nothing_is_no_image(bench: Bench) -> None:
    with pytest.raises(DockerfileError, match="No image was generated"):
        await bench.build("FROM scratch\n")
    image_id = await bench.build('FROM scratch\nCMD ["x"]\n')
    assert bench.store.images[image_id].layers == ()


# -- failures


async def test_a_failing_step(bench: Bench) -> None:
    with pytest.raises(BuildFailed) as failed:
        await bench.build("FROM base\nRUN touch /a\nRUN echo why && exit 3\n", tags=("x",))
    assert str(failed.value) == (
        "The command '/bin/sh -c echo why && exit 3' returned a non-zero code: 3"
    )
    assert failed.value.code == 3
    assert "why\n" in bench.text
    assert bench.nothing_is_left()
    with pytest.raises(NoSuchImage):
        bench.images.get("x")


async def test_a_command_that_is_not_there(bench: Bench) -> None:
    with pytest.raises(BuildFailed, match=r"non-zero code: 127: .*not found") as failed:
        await bench.build('FROM base\nRUN ["/nowhere"]\n')
    assert failed.value.code == 127
    assert bench.nothing_is_left()


async def test_one_stage_fails_and_the_others_stop(bench: Bench) -> None:
    with pytest.raises(BuildFailed, match="code: 4"):
        await bench.build(
            "FROM base AS a\nRUN hang\nFROM base AS b\nRUN echo because && exit 4\n"
            "FROM scratch\nCOPY --from=a /x /\nCOPY --from=b /x /\n"
        )
    assert "because\n" in bench.text
    assert bench.nothing_is_left()


@pytest.mark.parametrize("step", ["RUN echo now && hang", "COPY big /"])
async def test_cancelling_leaves_nothing(bench: Bench, step: str) -> None:
    (bench.context / "big").mkdir()
    for number in range(200):
        (bench.context / "big" / str(number)).write_text("x")
    reached = asyncio.Event()
    (bench.context / "Dockerfile").write_text(f"FROM base\n{step}\n")

    def emit(output: BuildOutput) -> None:
        if "now" in output.text or "COPY" in output.text:
            reached.set()

    tasks = Tasks()
    task = tasks.spawn(bench.builder.build(BuildRequest(context=bench.context), emit), name="build")
    await asyncio.wait_for(reached.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.nothing_is_left()


async def test_a_full_disk_fails_the_build(bench: Bench) -> None:
    await bench.build("FROM base\nRUN touch /a\n")
    bench.store.full = True
    with pytest.raises(Exception, match="no space left"):
        await bench.build("FROM base\nRUN touch /b\n")
    bench.store.full = False
    assert bench.nothing_is_left()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM base\nCOPY nothere /", "Dockerfile:2: COPY failed: file not found in build context"),
        ("FROM base\nCOPY --from=base /no /", "stat /no: file does not exist in image base"),
        ("FROM base\nCOPY a b /c", "the destination must be a directory and end with a /"),
        ("FROM base\nCOPY --chown=eve a /a", "Dockerfile:2: unable to convert eve to uid/gid"),
        ("FROM base\nCOPY --chmod=u+x a /a", "invalid --chmod"),
        ("FROM base\nRUN --mount=type=secret,id=x x", "RUN --mount=type=secret is not supported"),
        ("FROM base\nRUN --mount=type=cache x", "Dockerfile:2: --mount=type=cache names no target"),
        ("FROM base\nRUN --mount=tpye=cache x", "unexpected key 'tpye'"),
        ("FROM base\nRUN --mount=target=/x,source=no x", "stat no: file does not exist"),
        ("FROM base\nCOPY d /etc/passwd", "cannot copy to non-directory: /etc/passwd"),
        ("FROM base\nWORKDIR /etc/passwd/x", "Dockerfile:2: cannot copy to non-directory"),
    ],
)
async def test_errors(bench: Bench, text: str, message: str) -> None:
    (bench.context / "a").write_text("")
    (bench.context / "d").mkdir()
    with pytest.raises(DockerfileError, match=message):
        await bench.build(text)
    assert bench.nothing_is_left()


async def test_requests_that_make_no_sense(bench: Bench) -> None:
    with pytest.raises(BadReference):
        await bench.build("FROM base\n", tags=("UPPER",))
    with pytest.raises(Unsupported):
        await bench.build("FROM base\n", squash=True)
    with pytest.raises(DockerfileError, match="Cannot locate specified Dockerfile: other"):
        await bench.build("FROM base\n", dockerfile="other")


# -- prune


async def test_what_a_build_stands_on_is_in_use(bench: Bench) -> None:
    seen: list[ImageUser | None] = []

    async def look(process: object) -> int:
        newest = max(bench.store.images.values(), key=lambda image: len(image.layers))
        seen.extend(bench.builder.image_user(i) for i in (newest.id, "sha256:other"))
        return 0

    bench.runs.programs["look"] = look
    image_id = await bench.build('FROM base\nRUN touch /a\nRUN ["look"]\n')
    assert seen == [ImageUser("", running=True), None]
    assert bench.builder.image_user(image_id) is None


async def test_prune_keeps_what_tagged_images_stand_on(bench: Bench) -> None:
    kept = await bench.build("FROM base\nRUN touch /a\nRUN touch /b\n", tags=("kept",))
    await bench.build("FROM base\nRUN touch /c\nCMD x\n")
    before = len(bench.store.images)
    assert await bench.builder.prune(lambda entry: entry.image_id == kept) == ([], 0)
    gone, size = await bench.builder.prune()
    assert (len(gone), size) == (2, 1)
    assert len(bench.store.images) == before - 2
    assert await bench.build("FROM base\nRUN touch /a\nRUN touch /b\n") == kept
    gone, _ = await bench.builder.prune(all=True)
    assert gone == []
    assert not bench.store.build_cache
