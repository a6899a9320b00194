"""A build's directory as a tar: what travels, under which name, and what is refused."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from sampan.client.context import Context, ContextError, one_file
from sampan.ignore import BadIgnorePattern


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
    with pytest.raises(BadIgnorePattern, match=r"/app/\.dockerignore:1: syntax error"):
        Context(str(tree))


def test_one_file() -> None:
    with tarfile.open(fileobj=io.BytesIO(one_file("Dockerfile", b"FROM a"))) as tar:
        assert [member.name for member in tar] == ["Dockerfile"]
