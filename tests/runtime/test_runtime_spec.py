"""The OCI specification: what goes in, what comes out. No kernel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel.rlimit import Limit
from sampan.runtime import capabilities, spec, users
from sampan.runtime.contract import BundleSpec, CommandNotExecutable, CommandNotFound, NoSuchUser
from sampan.runtime.facts import HostFacts
from sampan.runtime.failures import creation_failed, exec_failed
from sampan.runtime.seccomp.translate import Seccomp
from sampan.store.records import HostConfig, MountPoint, Resources, Ulimit

PROFILE = """{
 "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
 "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
 "syscalls": [
  {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [], "includes": {}, "excludes": {}},
  {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
  {"names": ["mount"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
   "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
  {"names": ["arm_only"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["arm64"]}},
  {"names": ["new"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "5.0"}},
  {"names": ["newer"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "99.0"}}
 ]}"""


@pytest.fixture
def facts(tmp_path: Path) -> HostFacts:
    profile = tmp_path / "seccomp.json"
    profile.write_text(PROFILE)
    return HostFacts(
        machine="x86_64",
        kernel=(6, 1),
        cgroup_version=2,
        cgroup_namespaces=True,
        capabilities=frozenset(capabilities.ALL) - {"CAP_SYS_RESOURCE"},
        raises_rlimits=False,
        rlimits={"nofile": Limit(1024, 4096)},
        oom_score_adj=0,
        apparmor=False,
        swap_accounting=True,
        blkio_weight=True,
        init_path=Path("/usr/bin/tini"),
        seccomp=Seccomp("x86_64", (6, 1), profile),
    )


@pytest.fixture
def bundle(tmp_path: Path) -> BundleSpec:
    rootfs = tmp_path / "rootfs"
    (rootfs / "etc").mkdir(parents=True)
    return BundleSpec(
        id="abc",
        rootfs=rootfs,
        args=("run", "me"),
        env=("A=b",),
        user="",
        working_dir="/",
        hostname="host",
        domainname="",
        tty=False,
        open_stdin=False,
        stop_signal=15,
        labels={},
        host=HostConfig(),
        mounts=(),
        etc_files={},
        netns=Path("/run/ns"),
        log_path=None,
        default_shm_bytes=1 << 20,
    )


def built(bundle: BundleSpec, facts: HostFacts, **host: Any) -> tuple[Any, tuple[str, ...]]:
    if host:
        bundle = replace(bundle, host=HostConfig(**host))
    result = spec.build(bundle, facts, cgroup="inst/abc", takes_bpf=False)
    return msgspec.json.decode(result.config), result.warnings


def test_the_default_container(bundle: BundleSpec, facts: HostFacts) -> None:
    config, warnings = built(bundle, facts)
    assert warnings == ()
    assert config["linux"]["cgroupsPath"] == "/inst/abc"
    assert {n["type"]: n.get("path") for n in config["linux"]["namespaces"]} == {
        "mount": None,
        "network": "/run/ns",
        "pid": None,
        "ipc": None,
        "uts": None,
        "cgroup": None,
    }
    assert set(config["process"]["capabilities"]["effective"]) == set(capabilities.DEFAULT)
    assert "inheritable" not in config["process"]["capabilities"]
    assert "/proc/kcore" in config["linux"]["maskedPaths"]
    assert config["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}


def test_conditions_of_the_profile_are_decided(facts: HostFacts) -> None:
    def actions(*caps: str) -> dict[str, list[str]]:
        translated = facts.seccomp.default(caps)
        assert translated is not None
        found: dict[str, list[str]] = {}
        for rule in msgspec.json.decode(translated.oci)["syscalls"]:
            for name in rule["names"]:
                found.setdefault(name, []).append(rule["action"])
        return found

    plain, admin = actions(), actions("CAP_SYS_ADMIN")
    assert plain["read"] == plain["new"] == ["SCMP_ACT_ALLOW"]
    assert plain["mount"] == ["SCMP_ACT_ERRNO"]
    assert admin["mount"] == ["SCMP_ACT_ALLOW"]
    assert facts.seccomp.default(()) is facts.seccomp.default(())


def test_a_missing_profile_is_said(bundle: BundleSpec, facts: HostFacts) -> None:
    bare = replace(facts, seccomp=Seccomp("x86_64", (6, 1), Path("/no/such/profile")))
    config, warnings = built(bundle, bare)
    assert "seccomp" not in config["linux"]
    assert any("no seccomp profile" in warning for warning in warnings)


def test_crun_gets_the_compiled_filter_and_the_profile(
    bundle: BundleSpec, facts: HostFacts
) -> None:
    result = spec.build(bundle, facts, cgroup="g", takes_bpf=True)
    config = msgspec.json.decode(result.config)
    assert config["annotations"]["run.oci.seccomp_bpf_data"]
    assert config["linux"]["seccomp"]["defaultAction"] == "SCMP_ACT_ERRNO"


def test_a_profile_of_apparmor_needs_apparmor(bundle: BundleSpec, facts: HostFacts) -> None:
    with pytest.raises(Unsupported, match="no AppArmor"):
        built(bundle, replace(facts, apparmor=False), security_opt=("apparmor=mine",))
    config, _ = built(bundle, replace(facts, apparmor=True), security_opt=("apparmor=mine",))
    assert config["process"]["apparmorProfile"] == "mine"


def test_capability_arithmetic() -> None:
    def get(add: tuple[str, ...] = (), drop: tuple[str, ...] = (), **kw: Any) -> set[str]:
        options = {"privileged": False, "available": frozenset(capabilities.ALL), **kw}
        return set(capabilities.effective(add, drop, **options)[0])

    assert get(drop=("ALL",)) == set()
    assert get(add=("net_admin",), drop=("all",)) == {"CAP_NET_ADMIN"}
    assert get(add=("ALL",), drop=("CAP_SYS_ADMIN",)) == set(capabilities.ALL) - {"CAP_SYS_ADMIN"}
    assert get(privileged=True) == set(capabilities.ALL)
    assert get(available=frozenset(("CAP_KILL",))) == {"CAP_KILL"}
    with pytest.raises(InvalidArgument, match="unknown capability"):
        get(add=("FLY",))
    _, warnings = capabilities.effective(
        ("SYS_ADMIN",), (), privileged=False, available=frozenset()
    )
    assert "CAP_SYS_ADMIN" in warnings[0]


def test_limits(bundle: BundleSpec, facts: HostFacts) -> None:
    config, warnings = built(
        bundle,
        facts,
        resources=Resources(
            memory=1 << 20,
            memory_swappiness=10,
            nano_cpus=1_500_000_000,
            cpuset_cpus="0",
            ulimits=(Ulimit(name="nofile", soft=9999, hard=9999),),
        ),
        oom_score_adj=-500,
    )
    resources = config["linux"]["resources"]
    assert resources["memory"] == {"limit": 1 << 20, "swap": 2 << 20}
    assert resources["cpu"] == {"period": 100_000, "quota": 150_000, "cpus": "0"}
    assert config["process"]["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 4096, "hard": 4096}]
    assert "oomScoreAdj" not in config["process"]
    assert len(warnings) == 3
    with pytest.raises(InvalidArgument, match="Memory limit"):
        built(bundle, facts, resources=Resources(memory_swap=1))
    with pytest.raises(InvalidArgument, match="oom score"):
        built(bundle, facts, oom_score_adj=2000)
    bad = Ulimit(name="nofile", soft=10, hard=5)
    with pytest.raises(InvalidArgument, match="soft limit"):
        built(bundle, facts, resources=Resources(ulimits=(bad,)))


def test_users_mounts_replace_the_systems(bundle: BundleSpec, facts: HostFacts) -> None:
    mounts = (
        MountPoint(type="tmpfs", source="", target="/dev/shm", mode="size=1m"),
        MountPoint(type="bind", source="/a", target="/etc/hosts"),
    )
    config, _ = built(replace(bundle, mounts=mounts, etc_files={"/etc/hosts": Path("/b")}), facts)
    targets = [m["destination"] for m in config["mounts"]]
    assert targets.count("/dev/shm") == 1
    assert targets.count("/etc/hosts") == 1


def test_the_hosts_namespaces(bundle: BundleSpec, facts: HostFacts) -> None:
    shared = replace(
        bundle, netns="host", pid_ns="host", ipc_ns="host", uts_ns=Path("/proc/1/ns/uts")
    )
    config, _ = built(shared, facts, cgroupns_mode="host")
    assert config["linux"]["namespaces"] == [
        {"type": "mount"},
        {"type": "uts", "path": "/proc/1/ns/uts"},
    ]
    assert "hostname" not in config
    with pytest.raises(InvalidArgument, match="not allowed in host network"):
        built(replace(shared, host=HostConfig(sysctls={"net.core.somaxconn": "1"})), facts)


def test_parameters_are_those_that_were_asked_for(bundle: BundleSpec, facts: HostFacts) -> None:
    """A namespace's defaults are set where it is made, once: not with each run in it."""
    config, _ = built(bundle, facts)
    assert "sysctl" not in config["linux"]
    asked = {"net.ipv4.ip_unprivileged_port_start": "1024"}
    config, _ = built(replace(bundle, host=HostConfig(sysctls=asked)), facts)
    assert config["linux"]["sysctl"] == asked


def test_who(tmp_path: Path) -> None:
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "passwd").write_text(
        "# comment\nroot:x:0:0::/root:/bin/sh\nweb:x:33:33::/var/www:/bin/sh\nbroken line\n"
    )
    (etc / "group").write_text("web:x:33:\nlog:x:4:web\nops:x:50:other\n")
    assert users.resolve(tmp_path, "") == users.Identity(0, 0, (0,), "/root")
    assert users.resolve(tmp_path, "web") == users.Identity(33, 33, (33, 4), "/var/www")
    assert users.resolve(tmp_path, "33") == users.resolve(tmp_path, "web")
    assert users.resolve(tmp_path, "web:ops") == users.Identity(33, 50, (50,), "/var/www")
    assert users.resolve(tmp_path, "7:8", ("log", "99")) == users.Identity(7, 8, (8, 4, 99), "/")
    assert users.home_of(tmp_path, "web") == "/var/www"
    assert users.home_of(tmp_path, "33:ops") == "/var/www"
    assert users.home_of(tmp_path, "12345") == "/"
    with pytest.raises(NoSuchUser, match="unable to find group nope"):
        users.resolve(tmp_path, "web:nope")
    with pytest.raises(InvalidArgument, match="range"):
        users.resolve(tmp_path, str(1 << 40))


@pytest.mark.parametrize(
    ("message", "command", "kind", "words"),
    [
        (
            "executable file `foo` not found in $PATH: No such file or directory",
            "foo",
            CommandNotFound,
            'exec: "foo": executable file not found in $PATH: unknown',
        ),
        (
            'runc create failed: unable to start container process: exec: "/x/y": stat /x/y: '
            "no such file or directory",
            "/x/y",
            CommandNotFound,
            "stat /x/y: no such file or directory",
        ),
        ("open executable: Permission denied", "/a", CommandNotExecutable, "permission denied"),
        ("exec /a: Exec format error", "/a", CommandNotExecutable, "exec format error"),
        ("mount `/x` to `y`: No such file or directory", "sh", InvalidArgument, "mount"),
    ],
)
def test_words_of_the_runtimes(
    message: str, command: str, kind: type[Exception], words: str
) -> None:
    error = creation_failed(message, command)
    assert type(error) is kind
    assert words in str(error)
    assert str(error).startswith("failed to create task for container")
    assert str(exec_failed(message, command)).startswith("OCI runtime exec failed")
