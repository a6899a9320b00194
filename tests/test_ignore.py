from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.ignore import BadIgnorePattern, Ignore


@pytest.mark.parametrize(
    ("lines", "excluded", "kept"),
    [
        (["a"], ["a", "a/b", "a/b/c"], ["b", "ab", "b/a"]),
        (["/a/"], ["a", "a/b"], ["b/a"]),
        (["*.md", "!README.md"], ["x.md"], ["README.md", "docs/x.md"]),
        (["*.md", "!README*.md", "README-secret.md"], ["README-secret.md", "x.md"], ["README.md"]),
        (["*"], ["a", "a/b", ".git"], []),
        (["*", "!src"], ["a"], ["src", "src/x/y"]),
        (["**/*.pyc"], ["x.pyc", "a/x.pyc", "a/b/x.pyc"], ["x.py"]),
        (["a/**"], ["a/b", "a/b/c"], ["a", "b"]),
        (["a/**/b"], ["a/b", "a/x/b", "a/x/y/b/c"], ["a/xb", "a"]),
        (["**"], ["a", "a/b"], []),
        (["?.txt"], ["a.txt"], ["ab.txt", "/.txt"]),
        (["[a-c]x"], ["ax", "cx/y"], ["dx"]),
        (["[^a-c]x"], ["dx"], ["ax", "/x"]),
        (["# comment", "  ", "  a  "], ["a"], ["# comment"]),
        (["\ufeffa"], ["a"], []),
        (["a\\*b"], ["a*b"], ["axb"]),
        (["a+b(c)|{d}$"], ["a+b(c)|{d}$"], ["aab(c)"]),
        (["! a", "a"], ["a"], []),
        (["a", "! a"], [], ["a", "a/b"]),
        (["a/b/../c"], ["a/c"], ["a/b"]),
        (["/"], [], ["a"]),
        (["."], [], ["a", ".git"]),
        (["a", "!a/b", "a/b/c"], ["a/x", "a/b/c", "a/b/c/d"], ["a/b", "a/b/x"]),
        (["*.log"], ["x.log"], ["d/x.log"]),
        (["*/*.log"], ["d/x.log"], ["x.log", "a/b/x.log"]),
        (["a?c"], ["abc"], ["a/c", "ac"]),
        (["\\*"], ["*"], ["a"]),
        (["a.b"], ["a.b"], ["axb"]),
        (["d", "!d/keep"], ["d", "d/other"], ["d/keep", "d/keep/x"]),
        (["  # no comment", "*.log\r"], ["# no comment", "x.log"], ["no comment"]),
        (["./y", " ! x "], ["y"], ["x"]),
    ],
)
def test_last_match_wins(lines: list[str], excluded: list[str], kept: list[str]) -> None:
    ignore = Ignore(lines)
    assert {p: ignore.excludes(p) for p in excluded} == dict.fromkeys(excluded, True)
    assert {p: ignore.excludes(p) for p in kept} == dict.fromkeys(kept, False)


@pytest.mark.parametrize(
    ("lines", "directory", "skip"),
    [
        (["a"], "a", True),
        (["a"], "b", False),
        (["a", "!a/b"], "a", False),
        (["a", "!a/b"], "a/c", True),
        (["a", "!a/b"], "a/b", False),
        (["*", "!**/x"], "a", False),
        (["*", "!*/x"], "a", False),
        (["*", "!*/x"], "a/b", True),
        (["*", "!c"], "a", True),
        (["!a/b", "a"], "a", True),
        (["a", "!b/x"], "a", True),
        (["*", "!src"], "src/deep", False),
    ],
)
def test_directories_are_skipped_only_when_nothing_comes_back(
    lines: list[str], directory: str, skip: bool
) -> None:
    assert Ignore(lines).may_skip_dir(directory) is skip


@pytest.mark.parametrize("line", ["[", "[]", "[a", "[a-", "a\\", "!", "[]a]", "[-a]", "[a-]"])
def test_bad_patterns_name_the_line(line: str) -> None:
    with pytest.raises(BadIgnorePattern, match=r"\.dockerignore:2: "):
        Ignore(["ok", line])


def test_a_bad_pattern_names_the_file_it_stands_in() -> None:
    with pytest.raises(BadIgnorePattern, match=r"^dev\.dockerignore:1: "):
        Ignore(["["], source="dev.dockerignore")


@pytest.mark.parametrize("name", ["Dockerfile", "a*b", "[x", "deep/d?", "back\\slash"])
def test_what_always_travels_is_a_name_and_not_a_pattern(name: str) -> None:
    ignore = Ignore(["*"], always=[name])
    assert not ignore.excludes(name)
    assert ignore.excludes("axb")
    assert not Ignore((), always=[name])


_names = st.text("ab.", min_size=1, max_size=3).filter(lambda s: s not in (".", ".."))
_paths = st.lists(_names, min_size=1, max_size=4).map("/".join)
_patterns = st.tuples(
    st.sampled_from(["", "!"]),
    st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "?"]), min_size=1, max_size=3),
).map(lambda p: p[0] + "/".join(p[1]))


@given(st.lists(_patterns, max_size=4), _paths, _paths)
def test_nothing_kept_lies_in_a_skipped_directory(
    lines: list[str], directory: str, below: str
) -> None:
    ignore = Ignore(lines)
    if ignore.may_skip_dir(directory):
        assert ignore.excludes(directory)
        assert ignore.excludes(f"{directory}/{below}")
