"""``--user`` against an image's own passwd and group files."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.errors import InvalidArgument
from sampan.runtime.contract import NoSuchUser
from sampan.runtime.users import id_of, resolve

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
1000:x:0:0::/root:/bin/sh
web:x:33:34::/var/www:/bin/sh
5000000000:x:0:0::/root:/bin/sh
far:x:5000000000:0::/:/bin/sh
"""
GROUP = """\
root:x:0:
2000:x:0:
web:x:34:
extra:x:50:web
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("user", "uid", "groups", "home"),
    [
        ("", 0, (0,), "/root"),
        ("web", 33, (34, 50), "/var/www"),
        ("33", 33, (34, 50), "/var/www"),
        ("web:extra", 33, (50,), "/var/www"),
        ("1000", 1000, (0,), "/"),
        ("1000:2000", 1000, (2000,), "/"),
        ("web:2000", 33, (2000,), "/var/www"),
        ("0033", 33, (34, 50), "/var/www"),
    ],
)
def test_who_it_is(root: Path, user: str, uid: int, groups: tuple[int, ...], home: str) -> None:
    found = resolve(root, user)
    assert (found.uid, found.groups, found.home) == (uid, groups, home)


@pytest.mark.parametrize(
    "user", ["5000000000", "9" * 5000, "0:5000000000", "far", "0:" + "9" * 5000]
)
def test_beyond_the_range(root: Path, user: str) -> None:
    with pytest.raises(InvalidArgument, match="must be in range"):
        resolve(root, user)


@pytest.mark.parametrize("user", ["nobody", "-1", "\u0661", "\u00b2", "web:\u0661", "web:none"])
def test_who_is_nobody(root: Path, user: str) -> None:
    with pytest.raises(NoSuchUser):
        resolve(root, user)


def test_an_absurd_line_is_nobody(root: Path) -> None:
    (root / "etc/passwd").write_text("huge:x:" + "9" * 5000 + ":0::/:\nweb:x:33:34::/var/www:\n")
    assert resolve(root, "web").uid == 33
    with pytest.raises(NoSuchUser):
        resolve(root, "huge")


def test_a_number_is_nobodys_name_in_a_build(root: Path) -> None:
    assert id_of(root, "passwd", "1000") is None
    assert id_of(root, "passwd", "web") == 33
