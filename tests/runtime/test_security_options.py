"""``--security-opt``: known ones are read, everything else is refused."""

from __future__ import annotations

import pytest

from sampan.errors import InvalidArgument
from sampan.runtime.security_options import Security, parse

PROFILE = '{"defaultAction":"SCMP_ACT_ALLOW","a":"b=c"}'


def test_what_each_says() -> None:
    assert parse(["no-new-privileges"]).no_new_privileges
    assert parse(["no-new-privileges:true"]).no_new_privileges
    assert not parse(["no-new-privileges=false"]).no_new_privileges
    assert parse(["seccomp:unconfined"]).seccomp == "unconfined"
    assert parse([f"seccomp={PROFILE}"]).seccomp == PROFILE
    assert parse(["systempaths=unconfined"]).unconfined_paths
    assert parse(["apparmor=mine"]).apparmor == "mine"
    assert parse(["label=type:x", "label:disable"]).labels == ("type:x", "disable")
    assert parse(["seccomp=builtin", "apparmor=unconfined"]) == Security()


@pytest.mark.parametrize(
    "option",
    [
        "",
        "odd",
        "odd=1",
        "label",
        "label=",
        "seccomp",
        "seccomp=/a/path",
        "seccomp={}",
        "apparmor",
        "no-new-privileges=",
        "no-new-privileges:maybe",
        "systempaths",
        "systempaths=confined",
    ],
)
def test_what_is_refused(option: str) -> None:
    with pytest.raises(InvalidArgument, match=r"security-opt|[Ss]eccomp"):
        parse([option])
