"""The system call filter: from the distribution's profile to the OCI form.

The profile that containers-common ships (and that ``--security-opt seccomp=FILE`` takes) has rules
with conditions: on the architecture, on the kernel's version, on what capabilities the container
has. The OCI form has none, so the conditions are decided here, once for each set of
capabilities, and the result is kept as the bytes that go into every config.json.

crun takes the compiled filter too (annotation ``run.oci.seccomp_bpf_data``), which saves it 16 ms
a container; other runtimes read the profile.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from sampan.kernel.seccomp import Compare, Filter, Rule, compile_filter
from sampan.runtime.seccomp.profile import Profile, ProfileRule, read_profile
from sampan.runtime.seccomp.strict import strict

PROFILE = Path("/usr/share/containers/seccomp.json")

ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "i686": "x86",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
"""uname's word -> the profile's."""

_NATIVE = {
    "amd64": "SCMP_ARCH_X86_64",
    "arm64": "SCMP_ARCH_AARCH64",
    "arm": "SCMP_ARCH_ARM",
    "x86": "SCMP_ARCH_X86",
    "ppc64le": "SCMP_ARCH_PPC64LE",
    "s390x": "SCMP_ARCH_S390X",
    "riscv64": "SCMP_ARCH_RISCV64",
}


@dataclass(frozen=True, slots=True)
class Translated:
    """A profile for one set of capabilities."""

    oci: msgspec.Raw
    """``linux.seccomp``."""
    bpf: str
    """The compiled filter in base64; empty: the runtime has to compile it."""


class Seccomp:
    """One host's filters; keeps every translation it has made. Safe to use from threads."""

    def __init__(self, machine: str, kernel: tuple[int, int], profile: Path = PROFILE) -> None:
        self._arch = ARCHITECTURES.get(machine, machine)
        self._kernel = kernel
        self._profile = profile
        self._cache: dict[frozenset[str], Translated] = {}

    def default(self, capabilities: Sequence[str]) -> Translated | None:
        """The distribution's profile, made as strict as Docker's, for a container with
        ``capabilities``; None: it ships none."""
        key = frozenset(capabilities)
        if key not in self._cache:
            try:
                content = self._profile.read_bytes()
            except FileNotFoundError:
                return None
            self._cache[key] = self._translate(strict(read_profile(content)), key)
        return self._cache[key]

    def custom(self, content: str, capabilities: Sequence[str]) -> Translated:
        """The user's own profile.

        Raises:
            InvalidArgument: it is not one.
        """
        return self._translate(read_profile(content.encode()), frozenset(capabilities))

    def _translate(self, profile: Profile, capabilities: frozenset[str]) -> Translated:
        result: dict[str, Any] = {"defaultAction": profile.default_action}
        if profile.default_errno_ret is not None:
            result["defaultErrnoRet"] = profile.default_errno_ret
        architectures = self._architectures(profile)
        result["architectures"] = architectures
        if profile.flags:
            result["flags"] = profile.flags
        if profile.listener_path:
            result["listenerPath"] = profile.listener_path
            result["listenerMetadata"] = profile.listener_metadata
        rules = [
            rule
            for rule in profile.syscalls or ()
            if self._applies(rule, capabilities) and (rule.names or rule.name)
        ]
        result["syscalls"] = [_oci_rule(rule) for rule in rules]
        bpf = None
        if not profile.flags and not profile.listener_path:
            bpf = _compile(profile, architectures, rules)
        return Translated(msgspec.Raw(msgspec.json.encode(result)), b64encode(bpf or b"").decode())

    def _architectures(self, profile: Profile) -> list[str]:
        if profile.architectures:
            return list(profile.architectures)
        native = _NATIVE.get(self._arch)
        for entry in profile.arch_map or ():
            if entry.architecture == native:
                return [native, *(entry.sub_architectures or ())]
        return [native] if native else []

    def _applies(self, rule: ProfileRule, capabilities: frozenset[str]) -> bool:
        if (out := rule.excludes) is not None and (
            capabilities.intersection(out.caps)
            or self._arch in out.arches
            or (out.min_kernel and self._kernel >= _version(out.min_kernel))
        ):
            return False
        need = rule.includes
        return need is None or (
            capabilities.issuperset(need.caps)
            and (not need.arches or self._arch in need.arches)
            and (not need.min_kernel or self._kernel >= _version(need.min_kernel))
        )


def _compile(profile: Profile, architectures: list[str], rules: list[ProfileRule]) -> bytes | None:
    return compile_filter(
        Filter(
            profile.default_action,
            profile.default_errno_ret,
            tuple(architectures),
            tuple(
                Rule(
                    rule.names or (rule.name,),
                    rule.action,
                    rule.errno_ret,
                    tuple(Compare(a.index, a.value, a.value_two, a.op) for a in rule.args or ()),
                )
                for rule in rules
            ),
        )
    )


def _oci_rule(rule: ProfileRule) -> dict[str, Any]:
    found: dict[str, Any] = {"names": rule.names or (rule.name,), "action": rule.action}
    if rule.errno_ret is not None:
        found["errnoRet"] = rule.errno_ret
    if rule.args:
        found["args"] = [
            {"index": a.index, "value": a.value, "valueTwo": a.value_two, "op": a.op}
            for a in rule.args
        ]
    return found


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor.partition(".")[0] or 0)
