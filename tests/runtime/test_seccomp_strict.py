"""The distribution's profile, made as strict as Docker's, on every architecture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sampan.runtime.seccomp.strict import ADMIN, FAMILIES, NAMESPACES, NEVER, REFUSED_FAMILIES, WITH
from sampan.runtime.seccomp.translate import ARCHITECTURES, PROFILE, Seccomp

KERNEL = (6, 1)
GENEROUS = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    # without a map and with flags: it is translated here and compiled nowhere
    "flags": ["SECCOMP_FILTER_FLAG_LOG"],
    "syscalls": [
        {
            "names": ["read", "clone", "clone3", "socket", *NEVER, *sum(WITH.values(), ())],
            "action": "SCMP_ACT_ALLOW",
        },
        {"name": "keyctl", "action": "SCMP_ACT_ALLOW"},
    ],
}


@pytest.fixture(params=["generous", "distribution"])
def profile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    found = GENEROUS
    if request.param == "distribution":
        if not PROFILE.exists():
            pytest.skip("the distribution's profile is not installed")
        found = json.loads(PROFILE.read_text()) | {"flags": GENEROUS["flags"]}
    path = tmp_path / "seccomp.json"
    path.write_text(json.dumps(found))
    return path


def rules(profile: Path, machine: str, *capabilities: str) -> list[dict[str, Any]]:
    translated = Seccomp(machine, KERNEL, profile).default(capabilities)
    assert translated is not None
    found: list[dict[str, Any]] = json.loads(bytes(translated.oci))["syscalls"]
    return found


def of(name: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rule for rule in found if name in rule["names"]]


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
def test_without_capabilities_nothing_of_the_table_is_left(profile: Path, machine: str) -> None:
    found = rules(profile, machine)
    for name in (*NEVER, *sum(WITH.values(), ())):
        assert [(rule["action"], rule["errnoRet"]) for rule in of(name, found)] == [
            ("SCMP_ACT_ERRNO", 1)
        ], name
    assert [(rule["action"], rule["errnoRet"]) for rule in of("clone3", found)] == [
        ("SCMP_ACT_ERRNO", 38)
    ]
    assert of("read", found)[0]["action"] == "SCMP_ACT_ALLOW"


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
def test_clone_makes_no_namespace_where_its_flags_are(profile: Path, machine: str) -> None:
    found = of("clone", rules(profile, machine))
    where = 1 if machine == "s390x" else 0
    assert {arg["index"] for rule in found for arg in rule["args"]} == {where}
    allowed = [rule for rule in found if rule["action"] == "SCMP_ACT_ALLOW"]
    assert [rule["args"][0]["value"] for rule in allowed] == [sum(NAMESPACES)]
    assert len(found) == 1 + len(NAMESPACES)


@pytest.mark.parametrize("capabilities", list(WITH))
def test_any_one_of_its_capabilities_opens_a_call(
    profile: Path, capabilities: tuple[str, ...]
) -> None:
    for one in capabilities:
        found = rules(profile, "x86_64", one)
        for name in WITH[capabilities]:
            assert {rule["action"] for rule in of(name, found)} == {"SCMP_ACT_ALLOW"}, name


def test_the_administrator_of_the_host_makes_namespaces(profile: Path) -> None:
    found = rules(profile, "x86_64", ADMIN)
    for name in ("clone", "clone3"):
        assert [(rule["action"], rule.get("args")) for rule in of(name, found)] == [
            ("SCMP_ACT_ALLOW", None)
        ]


@pytest.mark.parametrize("capabilities", [(), ("CAP_AUDIT_WRITE",), (ADMIN,)])
def test_families_are_allowed_by_number(profile: Path, capabilities: tuple[str, ...]) -> None:
    found = of("socket", rules(profile, "x86_64", *capabilities))
    families = {
        action: {
            arg["value"]
            for rule in found
            if rule["action"] == action
            for arg in rule["args"]
            if arg["index"] == 0
        }
        for action in ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO")
    }
    assert families["SCMP_ACT_ALLOW"] == set(FAMILIES)
    assert families["SCMP_ACT_ERRNO"] >= set(REFUSED_FAMILIES)
    assert {arg["op"] for rule in found for arg in rule["args"] if arg["index"] == 0} == {
        "SCMP_CMP_EQ"
    }
