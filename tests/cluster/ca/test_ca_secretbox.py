from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.cluster.ca.secretbox import CannotUnseal, SecretBox, load_box, new_key, save_key

BOX = SecretBox(b"k" * 32)


@given(st.binary(max_size=2000), st.text(max_size=40))
def test_what_is_sealed_opens(plain: bytes, about: str) -> None:
    sealed = BOX.seal(plain, about=about)
    assert BOX.unseal(sealed, about=about) == plain
    assert plain not in sealed or len(plain) < 4


def test_the_same_twice_looks_different() -> None:
    assert BOX.seal(b"x", about="a") != BOX.seal(b"x", about="a")


def test_it_opens_only_as_what_it_was_sealed_for() -> None:
    with pytest.raises(CannotUnseal, match="not its own"):
        BOX.unseal(BOX.seal(b"x", about="secret-a"), about="secret-b")


def test_every_changed_bit_is_noticed() -> None:
    sealed = BOX.seal(b"payload", about="a")
    for index in range(len(sealed)):
        damaged = sealed[:index] + bytes([sealed[index] ^ 1]) + sealed[index + 1 :]
        with pytest.raises(CannotUnseal):
            BOX.unseal(damaged, about="a")
    for length in range(len(sealed)):
        with pytest.raises(CannotUnseal):
            BOX.unseal(sealed[:length], about="a")


def test_another_key_says_what_to_do() -> None:
    with pytest.raises(CannotUnseal, match=r"cluster\.key"):
        SecretBox(b"o" * 32).unseal(BOX.seal(b"x", about="a"), about="a")


def test_older_keys_still_open() -> None:
    sealed = BOX.seal(b"x", about="a")
    assert SecretBox(b"n" * 32, b"k" * 32).unseal(sealed, about="a") == b"x"


def test_the_key_on_disk_is_roots_alone(tmp_path: Path) -> None:
    path = tmp_path / "manager" / "cluster.key"
    key = new_key()
    save_key(path, key)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_box(path).key == key
    path.write_bytes(key[:-1])
    with pytest.raises(CannotUnseal, match="damaged"):
        load_box(path)
    path.unlink()
    with pytest.raises(CannotUnseal, match="missing"):
        load_box(path)
