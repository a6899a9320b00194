"""Trees and the copier, on real directories."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest

from sampan.build.accounts import NoSuchAccount, owner
from sampan.build.contract import DockerfileError
from sampan.build.copier import Copier
from sampan.build.scoped import resolve
from sampan.build.tree import Tree
from sampan.ignore import Ignore


def fill(base: Path, **files: str) -> Path:
    base.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = base / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return base


def tree(base: Path, *ignore: str) -> Tree:
    return Tree(str(base), "build context", Ignore(ignore))


def copy(root: Path, source: Tree, pattern: str, dest: str) -> None:
    for picked in source.pick(pattern):
        Copier(str(root)).copy(source, picked, dest)


def listing(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


# -- picking


def test_wildcards_stay_in_their_directory(tmp_path: Path) -> None:
    context = tree(fill(tmp_path / "c", a1="", a2="", b="", d__a3=""))
    assert [p.name for p in context.pick("a*")] == ["a1", "a2"]
    assert [p.name for p in context.pick("*/a?")] == ["d/a3"]
    assert [p.name for p in context.pick("/a[^1]")] == ["a2"]
    assert context.pick(".")[0].is_dir


def test_what_is_not_there_is_named_with_a_hint(tmp_path: Path) -> None:
    context = tree(fill(tmp_path / "c", requirements="", secret=""), "secret")
    with pytest.raises(DockerfileError, match=r"excluded by .dockerignore.*mean requirements\?"):
        context.pick("requirement")
    with pytest.raises(DockerfileError, match=r"a line of \.dockerignore leaves it out"):
        context.pick("secret")
    with pytest.raises(DockerfileError, match="no source files match"):
        context.pick("*.go")
    with pytest.raises(DockerfileError, match="forbidden path outside the build context"):
        context.pick("../etc/passwd")


def test_a_link_in_the_context_cannot_leave_it(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    base = fill(tmp_path / "c", inside="fine")
    (base / "out").symlink_to("../outside")
    (base / "abs").symlink_to("/inside")
    context = tree(base)
    with pytest.raises(DockerfileError, match="file does not exist"):
        context.pick("out")
    assert context.pick("abs")[0].path == str(base / "inside")


def test_digest_is_of_content_not_of_time(tmp_path: Path) -> None:
    base = fill(tmp_path / "c", d__f="1", d__g="2")

    def digest() -> str:
        context = tree(base)
        return context.digest(context.pick("d")[0])

    first = digest()
    os.utime(base / "d/f", (1, 1))
    assert digest() == first
    (base / "d/f").chmod(0o755)
    second = digest()
    (base / "d/f").write_text("3")
    third = digest()
    (base / "d/f").rename(base / "d/h")
    assert len({first, second, third, digest()}) == 4


def test_ignored_files_are_not_copied(tmp_path: Path, root: Path) -> None:
    base = fill(tmp_path / "c", a="", d__keep="", d__x="", e__y="")
    copy(root, tree(base, "a", "d", "!d/keep", "e"), ".", "/")
    assert listing(root) == ["d", "d/keep"]


# -- copying


def test_files_and_directories(tmp_path: Path, root: Path) -> None:
    base = fill(tmp_path / "c", f="f", d__a="a", d__s__b="b")
    context = tree(base)
    copy(root, context, "f", "/x")
    copy(root, context, "f", "/into/")
    copy(root, context, "d", "/dir")
    copy(root, context, "f", "/dir")
    assert listing(root) == [
        *("dir", "dir/a", "dir/f", "dir/s", "dir/s/b"),
        *("into", "into/f", "x"),
    ]


def test_mode_owner_and_links(tmp_path: Path, root: Path) -> None:
    base = fill(tmp_path / "c", d__f="f")
    (base / "d/f").chmod(0o751)
    (base / "d/l").symlink_to("/etc/passwd")
    os.link(base / "d/f", base / "d/hard")
    os.chown(base / "d/f", 5, 6)
    copy(root, tree(base), "d", "/d")
    made = (root / "d/f").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_uid, made.st_gid) == (0o751, 0, 0)
    assert (root / "d/l").readlink() == Path("/etc/passwd")
    assert (root / "d/hard").stat().st_ino == made.st_ino
    assert made.st_mtime_ns == (base / "d/f").stat().st_mtime_ns
    context = tree(base)
    Copier(str(root), owner=(7, 8), mode=0o600).copy(context, context.pick("d/f")[0], "/g")
    made = (root / "g").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_uid, made.st_gid) == (0o600, 7, 8)


def test_links_in_the_root_cannot_lead_out(tmp_path: Path, root: Path) -> None:
    outside = fill(tmp_path / "outside", victim="safe")
    (root / "dir").symlink_to(outside)
    (root / "up").symlink_to("../outside")
    (root / "file").symlink_to(outside / "victim")
    base = fill(tmp_path / "c", victim="evil", d__victim="evil")
    context = tree(base)
    copy(root, context, "victim", "/dir/")
    copy(root, context, "d", "/up")
    copy(root, context, "victim", "/file")
    copy(root, context, "victim", "/a/../../../b")
    assert listing(outside) == ["victim"]
    assert (outside / "victim").read_text() == "safe"
    assert (root / "file").is_symlink()
    assert (root / str(outside).lstrip("/") / "victim").read_text() == "evil"


def test_a_link_to_a_directory_survives_a_copy_over_it(tmp_path: Path, root: Path) -> None:
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    copy(root, tree(fill(tmp_path / "c", r__lib__x="x")), "r", "/")
    assert (root / "lib").is_symlink()
    assert (root / "usr/lib/x").read_text() == "x"


def test_a_file_is_replaced_and_its_other_name_is_not(tmp_path: Path, root: Path) -> None:
    (root / "a").write_text("old")
    os.link(root / "a", root / "b")
    copy(root, tree(fill(tmp_path / "c", a="new")), "a", "/a")
    assert ((root / "a").read_text(), (root / "b").read_text()) == ("new", "old")


def test_refusals(tmp_path: Path, root: Path) -> None:
    fill(root, file="", d__sub__x="")
    context = tree(fill(tmp_path / "c", d__f="", sub=""))
    with pytest.raises(DockerfileError, match="cannot copy to non-directory: /file"):
        copy(root, context, "d", "/file")
    with pytest.raises(DockerfileError, match="a directory is there"):
        copy(root, context, "sub", "/d")


def test_a_loop_of_links_ends(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        resolve(str(root), "/a/x")


# -- tar


def test_unpack_stays_inside(tmp_path: Path, root: Path) -> None:
    outside = fill(tmp_path / "outside", victim="safe")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:

        def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", text: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, len(text)
            member.mode, member.uid = 0o640, 3
            archive.addfile(member, io.BytesIO(text.encode()))

        add("d/f", text="fine")
        add("../../up", text="in")
        add("escape", tarfile.SYMTYPE, str(outside))
        add("escape/victim", text="evil")
        add("hard", tarfile.LNKTYPE, "../../d/f")
        add("stolen", tarfile.LNKTYPE, "escape/victim")
    data.seek(0)
    with tarfile.open(fileobj=data) as archive:
        Copier(str(root)).unpack(archive, "/x")
    assert (outside / "victim").read_text() == "safe"
    assert (root / "x/d/f").read_text() == "fine"
    assert (root / "x/d/f").stat().st_uid == 3
    assert (root / "x/up").read_text() == "in"
    assert (root / "x/hard").stat().st_ino == (root / "x/d/f").stat().st_ino
    assert (root / "x/stolen").read_text() == "evil"


# -- accounts


def test_accounts(root: Path) -> None:
    fill(
        root,
        etc__passwd="root:x:0:0:r:/root:/bin/sh\nbob:x:7:8:b:/home/bob:/bin/sh\n",
        etc__group="root:x:0:\nbob:x:9:\nstaff:x:50:\n",
    )
    base = str(root)
    assert owner(base, "bob") == (7, 9)
    assert owner(base, "bob:staff") == (7, 50)
    assert owner(base, "5") == (5, 5)
    assert owner(base, "5:6") == (5, 6)
    with pytest.raises(NoSuchAccount, match="no user eve in the image"):
        owner(base, "eve")
    with pytest.raises(NoSuchAccount, match="no group eve"):
        owner(base, "bob:eve")


def test_a_passwd_that_is_a_link_or_a_fifo_does_no_harm(root: Path) -> None:
    (root / "etc").mkdir()
    (root / "etc/passwd").symlink_to("/etc/shadow")
    os.mkfifo(root / "etc/shadow")
    with pytest.raises(NoSuchAccount, match="no user bob"):
        owner(str(root), "bob")
