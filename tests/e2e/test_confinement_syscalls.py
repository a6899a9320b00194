"""System calls that a default container may not make: by each entry, as everyone, also in exec."""

from __future__ import annotations

import base64
import errno
import struct
from pathlib import Path

import pytest

from sampan.runtime.seccomp import strict
from sampan.testing.clients import Shell
from sampan.testing.syscalls import BY_32_BIT, HERE, NATIVE, Call, number, program

pytestmark = pytest.mark.skipif(not HERE, reason="the probe is made of x86-64 instructions")

USER_NAMESPACE = 0x10000000
SHARES_THE_ROOT = 0x200  # with a new user namespace the kernel refuses it: nothing is ever made
VSOCK, CRYPTO, NETLINK, UNIX, INET = 40, 38, 16, 1, 2
BIT_32 = 1 << 32

GRANTED = ("CAP_SYS_CHROOT",)
"""Capabilities of the table that a container has by default."""
DENIED = (
    *(Call(name) for name in strict.NEVER),
    *(
        Call(name)
        for capabilities, names in strict.WITH.items()
        if not set(capabilities) & set(GRANTED)
        for name in names
    ),
    *(Call("clone", (flag | SHARES_THE_ROOT,)) for flag in strict.NAMESPACES),
    *(Call("socket", (family, 1, 0)) for family in strict.REFUSED_FAMILIES),
    Call("unshare", (USER_NAMESPACE,)),
    Call("unshare", (0,)),
)
NOT_THERE = (Call("clone3", (0, 0)), Call("clone3"))
ALLOWED = (
    Call("getpid"),
    Call("socket", (UNIX, 1, 0)),
    Call("socket", (INET, 1, 0)),
    Call("socket", (NETLINK, 3, 0)),
)


def having(calls: tuple[Call, ...], entry: str) -> list[Call]:
    return [call for call in calls if number(call.name, entry) is not None]


def answers(sh: Shell, probe: Path, calls: list[Call], entry: str, *command: str) -> list[int]:
    """What the kernel said to ``calls``, made where ``command`` runs a shell."""
    probe.write_bytes(program(calls, entry))
    probe.chmod(0o755)
    text = sh.docker(*command, "sh", "-c", "/d/probe | base64").stdout
    return list(struct.unpack(f"<{len(calls)}q", base64.b64decode(text)))


@pytest.mark.parametrize("entry", [NATIVE, BY_32_BIT])
@pytest.mark.parametrize("user", ["0:0", "1000:1000"])
@pytest.mark.parametrize("in_exec", [False, True])
def test_what_docker_refuses_is_refused(
    sh: Shell, tmp_path: Path, entry: str, user: str, in_exec: bool
) -> None:
    tmp_path.chmod(0o755)
    command = ["run", "--rm", "-u", user, "-v", f"{tmp_path}:/d", "busybox"]
    if in_exec:
        sh.docker("run", "-d", "--name", "target", "-v", f"{tmp_path}:/d", "busybox", "sleep", "99")
        command = ["exec", "-u", user, "target"]
    denied, not_there, allowed = (having(all_, entry) for all_ in (DENIED, NOT_THERE, ALLOWED))

    said = answers(sh, tmp_path / "probe", denied + not_there + allowed, entry, *command)

    if in_exec:
        sh.docker("rm", "-f", "target")
    assert [
        call
        for call, answer in zip(denied, said[: len(denied)], strict=True)
        if answer != -errno.EPERM
    ] == []
    assert said[len(denied) : -len(allowed)] == [-errno.ENOSYS] * len(not_there)
    assert all(answer >= 0 for answer in said[-len(allowed) :])


def test_a_family_is_not_smuggled_in_by_bits_that_the_kernel_drops(
    sh: Shell, tmp_path: Path
) -> None:
    calls = [Call("socket", (BIT_32 | VSOCK, 1, 0)), Call("socket", (BIT_32 | CRYPTO, 5, 0))]
    command = ("run", "--rm", "-v", f"{tmp_path}:/d", "busybox")
    said = answers(sh, tmp_path / "probe", calls, NATIVE, *command)
    assert all(answer < 0 for answer in said)


@pytest.mark.parametrize("entry", [NATIVE, BY_32_BIT])
def test_a_capability_opens_its_calls(sh: Shell, tmp_path: Path, entry: str) -> None:
    """And so the kernel sees what makes no sense in them."""
    calls = [
        Call("unshare", (0,)),
        Call("clone3", (0, 0)),
        Call("setns"),
        Call("clone", (USER_NAMESPACE | SHARES_THE_ROOT,)),
        Call("keyctl"),
    ]
    command = ("run", "--rm", "--cap-add", "SYS_ADMIN", "-v", f"{tmp_path}:/d", "busybox")
    said = answers(sh, tmp_path / "probe", calls, entry, *command)
    assert said[:4] == [0, -errno.EINVAL, -errno.EBADF, -errno.EINVAL]
    assert said[4] == -errno.EPERM, "no capability opens the kernel's key rings"


def test_without_a_filter_nothing_is_refused_by_it(sh: Shell, tmp_path: Path) -> None:
    calls = [Call("keyctl"), Call("unshare", (0,)), Call("clone3", (0, 0))]
    command = ("run", "--rm", "--security-opt", "seccomp=unconfined", "-v", f"{tmp_path}:/d")
    said = answers(sh, tmp_path / "probe", calls, NATIVE, *command, "busybox")
    assert said == [-errno.EOPNOTSUPP, 0, -errno.EINVAL]


def test_user_namespaces_are_refused_as_typed(sh: Shell) -> None:
    refused = sh.docker("run", "--rm", "busybox", "unshare", "-U", "id", ok=False)
    assert refused.returncode != 0
    assert "Operation not permitted" in refused.stderr
