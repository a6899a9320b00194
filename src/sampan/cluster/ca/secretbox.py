"""Encryption at rest: what the store's files (and snapshots, and stolen disks of them) do not tell.

    box = version (1 byte) | key id (8) | nonce (12) | ciphertext and tag (ChaCha20-Poly1305)

The key lies beside the store on each manager's disk, in a file of its own, and never in the store.
A box is bound to the object it belongs to: moved to another record, it does not open.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from sampan.errors import Internal
from sampan.files import write_private

KEY_BYTES = 32
_VERSION = b"\x01"
_ID, _NONCE = 8, 12
_HEAD = len(_VERSION) + _ID + _NONCE


class CannotUnseal(Internal):
    """Another key, another object, or damage."""


class SecretBox:
    """``Sealing`` with one key to seal, and any number of older ones to open with."""

    def __init__(self, key: bytes, *older: bytes) -> None:
        self._key_id = _key_id(key)
        self._ciphers = {_key_id(each): ChaCha20Poly1305(each) for each in (key, *older)}
        self._key = key

    @property
    def key(self) -> bytes:
        """For a manager that joins, over mutual TLS, and for nobody else."""
        return self._key

    def seal(self, plain: bytes, *, about: str) -> bytes:
        """``plain`` in a box that opens only as ``about`` (an object's id)."""
        # 96 random bits repeat only after billions of boxes; a cluster makes thousands
        nonce = os.urandom(_NONCE)
        sealed = self._ciphers[self._key_id].encrypt(nonce, plain, about.encode())
        return _VERSION + self._key_id + nonce + sealed

    def unseal(self, sealed: bytes, *, about: str) -> bytes:
        """What is in the box.

        Raises:
            CannotUnseal
        """
        if len(sealed) < _HEAD or sealed[:1] != _VERSION:
            raise CannotUnseal(f"what is stored for {about} is not a sealed value")
        cipher = self._ciphers.get(sealed[1 : 1 + _ID])
        if cipher is None:
            raise CannotUnseal(
                f"{about} is sealed with another key than this manager's cluster.key: "
                "take that file from a manager that works"
            )
        try:
            return cipher.decrypt(sealed[1 + _ID : _HEAD], sealed[_HEAD:], about.encode())
        except InvalidTag as error:
            raise CannotUnseal(f"what is stored for {about} is damaged, or not its own") from error


def new_key() -> bytes:
    """A new cluster's key."""
    return os.urandom(KEY_BYTES)


def save_key(path: Path, key: bytes) -> None:
    """Keep the key on disk, for root only. Blocks."""
    write_private(path, key)


def load_box(path: Path) -> SecretBox:
    """The box that opens with the key on disk. Blocks.

    Raises:
        CannotUnseal: there is no such key.
    """
    try:
        key = path.read_bytes()
    except FileNotFoundError as error:
        raise CannotUnseal(f"{path} is missing: take it from another manager") from error
    if len(key) != KEY_BYTES:
        raise CannotUnseal(f"{path} is damaged: take it from another manager")
    return SecretBox(key)


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"sampan cluster key" + key).digest()[:_ID]
