"""Children, pidfds, inotify, limits, filters, reaching into trees: on the real kernel."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import struct
from pathlib import Path
from typing import Any

import pytest

from sampan.aio import Tasks
from sampan.kernel import inotify, inroot, process, rlimit
from sampan.kernel._libc import libc
from sampan.kernel.rlimit import Limit
from sampan.kernel.seccomp import Compare, Filter, Rule, compile_filter


async def test_a_child_gets_its_descriptors_and_gives_its_code() -> None:
    reader, writer = os.pipe()
    child = process.spawn(["/bin/sh", "-c", "echo out >&7; exit 3"], fds={7: writer})
    os.close(writer)
    assert await asyncio.gather(child.wait(), child.wait()) == [3, 3]
    assert os.read(reader, 10) == b"out\n"
    assert not child.send(signal.SIGTERM)
    os.close(reader)


async def test_descriptors_may_swap_numbers() -> None:
    pipes = [os.pipe(), os.pipe()]
    first, second = pipes[0][1], pipes[1][1]
    child = process.spawn(
        ["/bin/busybox", "sh", "-c", f"echo a >&{second}; echo b >&{first}"],
        fds={second: first, first: second},
    )
    assert await child.wait() == 0
    assert os.read(pipes[0][0], 10) == b"a\n"
    assert os.read(pipes[1][0], 10) == b"b\n"
    for fd in (*pipes[0], *pipes[1]):
        os.close(fd)


async def test_a_killed_child() -> None:
    child = process.spawn(["/bin/sleep", "1000"], fds={})
    assert child.returncode is None
    assert child.send(signal.SIGKILL)
    assert await child.wait() == 137


async def test_a_program_that_does_not_exist() -> None:
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        process.spawn(["/no/such/program"], fds={})
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        await process.start(["/no/such/program"], fds={})
    with pytest.raises(ValueError, match="null"):
        process.spawn(["/bin/true", "a\0b"], fds={})


async def test_a_child_has_our_variables_or_its_own_and_no_blocked_signal() -> None:
    script = 'echo "$SMP_A"; grep SigBlk /proc/self/status; exec sleep 0'
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        said = os.memfd_create("said")
        child = process.spawn(["/bin/sh", "-c", script], fds={1: said}, env={"SMP_A": "ä b"})
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
    assert await child.wait() == 0
    assert os.pread(said, 100, 0).decode().split("\n")[:2] == ["ä b", f"SigBlk:\t{0:016x}"]
    os.close(said)


@pytest.mark.parametrize("times", [1, 2])
async def test_a_start_that_is_cancelled_leaves_no_child(times: int) -> None:
    def children() -> set[str]:
        return {
            pid for task in Path("/proc/self/task").iterdir()
            for pid in (task / "children").read_text().split()
        }  # fmt: skip

    before = children()
    said, ours = os.pipe2(os.O_CLOEXEC)
    tasks = Tasks()
    starting = tasks.spawn(process.start(["/bin/sleep", "1000"], fds={1: ours}), name="start")
    for _ in range(times):
        await asyncio.sleep(0)
        starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    os.close(ours)
    os.set_blocking(said, False)
    assert os.read(said, 1) == b""  # nobody else has its other end any more
    os.close(said)
    assert children() == before


@pytest.mark.parametrize("argv", [["/no/such/program"], ["/bin/true", "a\0b"]])
async def test_a_start_that_is_cancelled_and_fails_says_nothing(argv: list[str]) -> None:
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: reported.append(what))
    tasks = Tasks()
    starting = tasks.spawn(process.start(argv, fds={}), name="start")
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    del starting
    gc.collect()  # an exception that nobody has seen is reported when its future goes
    await asyncio.sleep(0)
    assert reported == []


async def test_many_start_side_by_side() -> None:
    async def one(number: int) -> int:
        child = await process.start(["/bin/sh", "-c", f"exit {number}"], fds={})
        return await child.wait()

    assert await asyncio.gather(*map(one, range(40))) == list(range(40))


async def test_a_pid_is_only_used_with_its_start_time() -> None:
    child = process.spawn(["/bin/sleep", "1000"], fds={})
    started = process.start_time(child.pid)
    assert started
    assert not process.send_signal(child.pid, started + 1, signal.SIGKILL)
    assert process.send_signal(child.pid, started, signal.SIGKILL)
    await process.wait_gone(child.pid, started)
    # A zombie is gone, but for its parent.
    assert process.start_time(child.pid) is None
    assert await child.wait() == 137
    assert not process.send_signal(child.pid, started, signal.SIGKILL)
    await process.wait_gone(child.pid, started)


async def test_a_sealed_copy_runs_and_cannot_be_written() -> None:
    fd = process.sealed_copy("/bin/true")
    try:
        child = process.spawn(["true"], executable=f"/proc/self/fd/{fd}", fds={})
        assert await child.wait() == 0
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
    finally:
        os.close(fd)


async def test_inotify_tells_names(tmp_path: Path) -> None:
    async with inotify.Inotify() as watcher:
        watch = watcher.add(tmp_path, inotify.IN_CREATE | inotify.IN_MOVED_TO)
        (tmp_path / "one").touch()
        (tmp_path / "one").rename(tmp_path / "two")
        events = [await anext(watcher), await anext(watcher)]
        assert [(e.watch, e.name) for e in events] == [(watch, "one"), (watch, "two")]
        watcher.remove(watch)
        with pytest.raises(FileNotFoundError, match="inotify watch"):
            watcher.add(tmp_path / "nosuch", inotify.IN_CREATE)


async def test_closing_ends_the_consumer() -> None:
    watcher = inotify.Inotify()
    asyncio.get_running_loop().call_soon(watcher.close)
    assert [event async for event in watcher] == []


def test_limits_are_clamped_to_ours() -> None:
    ours = Limit(100, 1000)
    assert rlimit.clamp("nofile", Limit(5, 500), ours) == (Limit(5, 500), "")
    limit, warning = rlimit.clamp("nofile", Limit(5000, 5000), ours)
    assert limit == Limit(1000, 1000)
    assert "CAP_SYS_RESOURCE" in warning
    assert rlimit.clamp("core", Limit(-1, -1), ours)[0] == Limit(1000, 1000)
    assert rlimit.clamp("core", Limit(-1, -1), Limit(0, -1)) == (Limit(-1, -1), "")
    assert rlimit.inherited("nofile").hard > 0


def test_links_do_not_lead_out_of_a_tree(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (tmp_path / "secret").write_text("host")
    (root / "secret").write_text("image")
    (root / "etc/passwd").symlink_to("../../secret")
    (root / "etc/absolute").symlink_to("/secret")
    assert inroot.read_in(root, "/etc/passwd") == b"image"
    assert inroot.read_in(root, "/etc/absolute") == b"image"
    assert inroot.read_in(root, "/etc/nosuch") is None
    os.mkfifo(root / "etc/pipe")
    assert inroot.read_in(root, "/etc/pipe") is None
    (root / "out").symlink_to("/../../..")
    inroot.make_directories_in(root, "/out/a/b")
    assert (root / "a/b").is_dir()
    with pytest.raises(NotADirectoryError):
        inroot.make_directories_in(root, "/secret/x")


def test_a_compiled_filter_decides_as_the_profile_says() -> None:
    machine = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[os.uname().machine]
    deny = Rule(("getpriority",), "SCMP_ACT_ERRNO", errno.EXDEV, ())
    some = Rule(("kill",), "SCMP_ACT_ERRNO", errno.EDOM, (Compare(1, 10, 0, "SCMP_CMP_EQ"),))
    unknown = Rule(("no_such_call",), "SCMP_ACT_ERRNO", 1, ())
    bpf = compile_filter(Filter("SCMP_ACT_ALLOW", None, (machine,), (deny, some, unknown)))
    assert bpf
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, repr(_under(bpf)).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    assert os.read(reader, 100).decode() == repr([errno.EXDEV, errno.EDOM, 0])
    os.close(reader)


def _under(bpf: bytes) -> list[int]:
    """errno of getpriority, kill(self, 10 = SIGUSR1) and kill(self, 0) under the filter."""
    import ctypes

    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    buffer = ctypes.create_string_buffer(bpf, len(bpf))
    program = struct.pack("HxxxxxxQ", len(bpf) // 8, ctypes.addressof(buffer))
    pr_set_no_new_privs, pr_set_seccomp, filter_mode = 38, 22, 2
    libc.prctl(pr_set_no_new_privs, 1, 0, 0, 0)
    assert libc.prctl(pr_set_seccomp, filter_mode, program) == 0
    found = []
    for call in (
        lambda: libc.getpriority(0, 0),
        lambda: libc.kill(os.getpid(), 10),
        lambda: libc.kill(os.getpid(), 0),
    ):
        ctypes.set_errno(0)
        found.append(ctypes.get_errno() if call() < 0 else 0)
    return found


def test_what_cannot_be_compiled_is_left_to_the_runtime() -> None:
    assert compile_filter(Filter("SCMP_ACT_NOTIFY", None, (), ())) is None
    assert compile_filter(Filter("SCMP_ACT_ALLOW", None, ("SCMP_ARCH_ODD",), ())) is None
