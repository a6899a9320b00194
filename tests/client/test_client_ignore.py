"""``.dockerignore``: the patterns, and the tar that comes of them."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.client.context import Context, ContextError, one_file
from sampan.client.ignore import BadPattern, IgnoreRules, read_patterns


def test_reading_patterns() -> None:
    text = "\ufeff# comment\n\n  a/b/  \n/abs\n#c\n ! x \n./y\na/../b\n#\n"
    text += "  # no comment\n!\n*.log\r\n"
    assert read_patterns(text) == [
        "a/b", "abs", "!x", "y", "b", "# no comment", "!", "*.log",
    ]  # fmt: skip


TABLE = [
    (["a"], "a", True),
    (["a"], "a/b/c", True),
    (["a"], "b/a", False),
    (["*"], "a", True),
    (["*"], "a/b", True),
    (["*.log"], "x.log", True),
    (["*.log"], "d/x.log", False),
    (["*/*.log"], "d/x.log", True),
    (["**/*.log"], "x.log", True),
    (["**/*.log"], "a/b/x.log", True),
    (["a/**"], "a/b/c", True),
    (["a/**"], "a", False),
    (["a/**/z"], "a/z", True),
    (["a/**/z"], "a/b/c/z", True),
    (["**"], "a/b", True),
    (["a?c"], "abc", True),
    (["a?c"], "a/c", False),
    (["[a-c]x"], "bx", True),
    (["[^a-c]x"], "bx", False),
    (["[^a-c]x"], "dx", True),
    ([r"\*"], "*", True),
    ([r"\*"], "a", False),
    (["a.b"], "axb", False),
    (["a$(b)+"], "a$(b)+", True),
    (["*", "!keep"], "keep", False),
    (["*", "!keep"], "keep/x", False),
    (["d", "!d/keep"], "d/keep", False),
    (["d", "!d/keep"], "d/other", True),
    (["!a", "a"], "a", True),
    (["*.md", "!README*.md", "README-secret.md"], "README-secret.md", True),
    (["*.md", "!README*.md", "README-secret.md"], "README.md", False),
]


@pytest.mark.parametrize(("patterns", "path", "ignored"), TABLE)
def test_matching(patterns: list[str], path: str, ignored: bool) -> None:
    assert IgnoreRules(patterns).ignores(path) is ignored


@pytest.mark.parametrize("pattern", ["[", "[]", "[a", "[a-", "[-a]", "a\\", "!"])
def test_malformed_patterns(pattern: str) -> None:
    with pytest.raises(BadPattern):
        IgnoreRules([pattern])


@pytest.mark.parametrize(
    ("patterns", "directory", "pruned"),
    [
        (["d"], "d", True),
        (["d", "!d/x"], "d", False),
        (["d", "!e/x"], "d", True),
        (["*", "!**/x"], "d", False),
        (["*", "!*/x"], "d", False),
        (["*", "!src"], "src/deep", False),
        (["x"], "d", False),
    ],
)
def test_pruning(patterns: list[str], directory: str, pruned: bool) -> None:
    assert IgnoreRules(patterns).prunes(directory) is pruned


SEGMENT = st.sampled_from(["a", "b", "ab", "*", "**", "?", "a*"])


@given(
    patterns=st.lists(
        st.tuples(st.booleans(), st.lists(SEGMENT, min_size=1, max_size=3)), max_size=4
    ),
    directory=st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=2),
    below=st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=3),
)
def test_a_pruned_directory_holds_nothing_that_is_wanted(
    patterns: list[tuple[bool, list[str]]], directory: list[str], below: list[str]
) -> None:
    rules = IgnoreRules(("!" if back else "") + "/".join(parts) for back, parts in patterns)
    if rules.prunes("/".join(directory)):
        assert rules.ignores("/".join(directory + below))


def names_of(context: Context) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(context.chunks()))) as tar:
        return {member.name: member for member in tar}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    (root / "src").mkdir(parents=True)
    (root / "node").mkdir()
    (root / "Dockerfile").write_text("FROM x\n")
    (root / "src" / "main.py").write_text("pass\n")
    (root / "src" / "x.log").write_text("log\n")
    (root / "node" / "big").write_bytes(b"x" * 600_000)
    (root / "link").symlink_to("src/main.py")
    return root


def test_the_tree_as_a_tar(tree: Path) -> None:
    (tree / ".dockerignore").write_text("**/*.log\nDockerfile\n")
    os.chmod(tree / "src" / "main.py", 0o750)
    found = names_of(Context(str(tree)))
    assert list(found) == [
        ".dockerignore", "Dockerfile", "link", "node", "node/big", "src", "src/main.py",
    ]  # fmt: skip
    assert found["src/main.py"].mode == 0o750
    assert found["src/main.py"].uid == 0
    assert found["link"].linkname == "src/main.py"
    assert found["node/big"].size == 600_000


def test_what_comes_back_from_an_ignored_directory(tree: Path) -> None:
    (tree / ".dockerignore").write_text("*\n!src/*.py\n")
    assert list(names_of(Context(str(tree)))) == [".dockerignore", "Dockerfile", "src/main.py"]


def test_a_dockerfile_has_its_own_ignore_file(tree: Path) -> None:
    (tree / "dev").write_text("FROM y\n")
    (tree / "dev.dockerignore").write_text("node\nsrc\n")
    context = Context(str(tree), str(tree / "dev"))
    assert context.dockerfile == "dev"
    assert list(names_of(context)) == ["Dockerfile", "dev", "dev.dockerignore", "link"]


def test_a_dockerfile_from_elsewhere_travels_under_its_own_name(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "Other").write_text("FROM z\n")
    context = Context(str(tree), str(tmp_path / "Other"))
    assert names_of(context)[context.dockerfile].size == 7
    assert Context(str(tree), b"FROM q\n").dockerfile == context.dockerfile


def test_refusals(tree: Path) -> None:
    with pytest.raises(ContextError, match="not found"):
        Context(str(tree / "none"))
    with pytest.raises(ContextError, match="no Dockerfile"):
        Context(str(tree / "src"))
    (tree / ".dockerignore").write_text("[\n")
    with pytest.raises(ContextError, match="malformed"):
        Context(str(tree))


def test_one_file() -> None:
    with tarfile.open(fileobj=io.BytesIO(one_file("Dockerfile", b"FROM a"))) as tar:
        assert [member.name for member in tar] == ["Dockerfile"]
