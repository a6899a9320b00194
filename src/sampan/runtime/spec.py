"""A run's OCI specification: a pure function of what the run is to be and what the host can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from sampan.errors import InvalidArgument, Unsupported
from sampan.runtime import capabilities, security_options, users
from sampan.runtime.contract import BundleSpec, CommandNotFound, ExecSpec
from sampan.runtime.facts import HostFacts
from sampan.runtime.spec_devices import devices
from sampan.runtime.spec_mounts import INIT_TARGET, MASKED, READ_ONLY, all_mounts
from sampan.runtime.spec_resources import limits, oom_score, rlimits

OCI_VERSION = "1.0.2"

_BPF_ANNOTATION = "run.oci.seccomp_bpf_data"


@dataclass(frozen=True, slots=True)
class Bundle:
    config: bytes
    """config.json."""
    process: bytes
    """Its ``process`` object: what an exec starts from."""
    warnings: tuple[str, ...]


def build(spec: BundleSpec, facts: HostFacts, *, cgroup: str, takes_bpf: bool) -> Bundle:
    """Args:
        cgroup: the run's group, relative to the root of each tree.
        takes_bpf: the runtime is crun, which takes a compiled system call filter.

    Raises:
        NoSuchUser, InvalidArgument, Unsupported, CommandNotFound (no command at all).
    """
    host = spec.host
    warnings: list[str] = []
    if not spec.args:
        raise CommandNotFound("no command specified")
    security = security_options.parse(host.security_opt)
    _check_apparmor(security.apparmor, facts)
    who = users.resolve(spec.rootfs, spec.user, host.group_add)
    granted, notes = capabilities.effective(
        host.cap_add, host.cap_drop, privileged=host.privileged, available=facts.capabilities
    )
    warnings += notes
    limit_list, notes_ = rlimits(spec, facts)
    warnings += notes_
    score, notes_ = oom_score(host.oom_score_adj, facts)
    warnings += notes_
    process: dict[str, Any] = {
        "terminal": spec.tty,
        "user": {"uid": who.uid, "gid": who.gid, "additionalGids": who.groups},
        "args": (INIT_TARGET, "--", *spec.args) if host.init else spec.args,
        "env": spec.env,
        "cwd": spec.working_dir or "/",
        "capabilities": capability_sets(granted, root=who.uid == 0),
        "noNewPrivileges": security.no_new_privileges,
    }
    if limit_list:
        process["rlimits"] = limit_list
    if score is not None:
        process["oomScoreAdj"] = score
    if security.apparmor:
        process["apparmorProfile"] = security.apparmor
    if spec.tty and any(host.console_size):
        process["consoleSize"] = dict(zip(("height", "width"), host.console_size, strict=True))

    nodes, rules = devices(host)
    resources, notes_ = limits(host.resources, facts)
    warnings += notes_
    resources["devices"] = rules
    linux: dict[str, Any] = {
        "namespaces": _namespaces(spec, facts),
        "cgroupsPath": f"/{cgroup}",
        "resources": resources,
        "devices": nodes,
    }
    annotations = dict(host.annotations)
    if sysctls := _sysctls(spec):
        linux["sysctl"] = sysctls
    if not (host.privileged or security.unconfined_paths):
        linux["maskedPaths"] = MASKED if host.masked_paths is None else host.masked_paths
        linux["readonlyPaths"] = READ_ONLY if host.readonly_paths is None else host.readonly_paths
    if not host.privileged and security.seccomp != "unconfined":
        profile = (
            facts.seccomp.custom(security.seccomp, granted)
            if security.seccomp
            else facts.seccomp.default(granted)
        )
        if profile is not None:
            linux["seccomp"] = profile.oci
            if takes_bpf and profile.bpf:
                # The profile stays: a crun that did not know the annotation would compile it.
                annotations[_BPF_ANNOTATION] = profile.bpf
        else:
            warnings.append(
                "no seccomp profile: install the package golang-github-containers-common"
            )
    if propagation := _root_propagation(spec):
        linux["rootfsPropagation"] = propagation

    config: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": str(spec.rootfs), "readonly": host.readonly_rootfs},
        "mounts": all_mounts(spec, facts),
        "linux": linux,
    }
    if spec.uts_ns == "private":
        config["hostname"] = spec.hostname
        if spec.domainname:
            config["domainname"] = spec.domainname
    if annotations:
        config["annotations"] = annotations
    return Bundle(msgspec.json.encode(config), msgspec.json.encode(process), tuple(warnings))


def exec_process(base: bytes, spec: ExecSpec, who: users.Identity, facts: HostFacts) -> bytes:
    """The ``process`` object of an exec: the run's own with the exec's differences."""
    process: dict[str, Any] = msgspec.json.decode(base)
    process["args"] = spec.args
    home_is_given = any(one.startswith("HOME=") for one in spec.env)
    process["env"] = spec.env if home_is_given else (*spec.env, f"HOME={who.home}")
    process["terminal"] = spec.tty
    process["user"] = {"uid": who.uid, "gid": who.gid, "additionalGids": who.groups}
    if spec.working_dir:
        process["cwd"] = spec.working_dir
    process.pop("consoleSize", None)
    if spec.tty and any(spec.console_size):
        process["consoleSize"] = dict(zip(("height", "width"), spec.console_size, strict=True))
    bounding = process["capabilities"]["bounding"]
    if spec.privileged:
        bounding, _ = capabilities.effective((), (), privileged=True, available=facts.capabilities)
    process["capabilities"] = capability_sets(bounding, root=who.uid == 0)
    return msgspec.json.encode(process)


def capability_sets(granted: tuple[str, ...], *, root: bool) -> dict[str, tuple[str, ...]]:
    """Another user than root starts with none, but set-uid programs can still get them (the
    bounding set). Inheritable stays empty: with it, a file capability of another user's
    program would apply (CVE-2022-24769)."""
    held = granted if root else ()
    return {"bounding": granted, "effective": held, "permitted": held}


def _check_apparmor(profile: str, facts: HostFacts) -> None:
    if profile and not facts.apparmor:
        raise Unsupported(f"AppArmor profile {profile} asked for, but this kernel has no AppArmor")


def _namespaces(spec: BundleSpec, facts: HostFacts) -> list[dict[str, str]]:
    found = [{"type": "mount"}]
    if spec.netns != "host":
        found.append({"type": "network", "path": str(spec.netns)})
    for kind, where in (("pid", spec.pid_ns), ("ipc", spec.ipc_ns), ("uts", spec.uts_ns)):
        if where == "private":
            found.append({"type": kind})
        elif where != "host":
            found.append({"type": kind, "path": str(where)})
    if facts.cgroup_namespaces and spec.host.cgroupns_mode != "host":
        found.append({"type": "cgroup"})
    return found


def _sysctls(spec: BundleSpec) -> dict[str, str]:
    wanted = dict(spec.host.sysctls)
    if spec.netns == "host":
        for name in wanted:
            if name.startswith("net."):
                raise InvalidArgument(f"sysctl '{name}' not allowed in host network namespace")
    return wanted


def _root_propagation(spec: BundleSpec) -> str:
    """A shared or slave bind needs a root that lets mounts through."""
    kinds = {mount.propagation for mount in spec.mounts}
    if kinds & {"shared", "rshared"}:
        return "shared"
    return "rslave" if kinds & {"slave", "rslave"} else ""
