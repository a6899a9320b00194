from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sampan.cluster.ca.authority import begin_rotation, finish_rotation, found
from sampan.cluster.ca.secretbox import SecretBox
from sampan.cluster.ca.tokens import (
    BadJoinToken,
    JoinToken,
    WrongJoinToken,
    digest_of,
    join_token,
    new_secret,
    pinned_root,
    role_by_token,
)
from sampan.cluster.records import Cluster

BOX = SecretBox(b"k" * 32)


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return found(Cluster(id="c1"), BOX, 1_700_000_000.0)


def test_a_token_of_docker_is_understood() -> None:
    text = "SWMTKN-1-49nj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv-8vxv8rssmk743ojnwacrr2e7c"
    token = JoinToken.parse(text)
    assert len(token.digest) == 64
    assert token.secret == "8vxv8rssmk743ojnwacrr2e7c"
    assert str(token) == text
    assert "8vxv8" not in repr(token)


@given(st.binary(min_size=32, max_size=32))
def test_every_digest_survives(digest: bytes) -> None:
    token = JoinToken(digest.hex(), new_secret())
    assert JoinToken.parse(str(token)) == token
    assert len(str(token)) == len("SWMTKN-1-") + 50 + 1 + 25


@given(st.text(max_size=120))
def test_anything_else_is_no_token(text: str) -> None:
    with pytest.raises(
        BadJoinToken, match=r"^invalid join token: .*`sampan swarm join-token worker` prints it"
    ):
        JoinToken.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SWMTKN-1-",
        "SWMTKN-2-" + "0" * 50 + "-" + "0" * 25,
        "SWMTKN-1-" + "z" * 50 + "-" + "0" * 25,  # more than 256 bits
        "SWMTKN-1-" + "0" * 49 + "-" + "0" * 25,
        "SWMTKN-1-" + "0" * 50 + "-" + "0" * 25 + "-1",
    ],
)
def test_what_only_looks_like_a_token(text: str) -> None:
    with pytest.raises(BadJoinToken):
        JoinToken.parse(text)


def test_the_digest_is_of_the_roots_pem(cluster: Cluster) -> None:
    token = JoinToken.parse(join_token(cluster, "worker"))
    assert token.digest == hashlib.sha256(cluster.root_certificate.encode()).hexdigest()


def test_each_role_has_its_token(cluster: Cluster) -> None:
    assert role_by_token(cluster, join_token(cluster, "worker")) == "worker"
    assert role_by_token(cluster, join_token(cluster, "manager") + "\n") == "manager"


def test_a_rotated_token_is_void_and_the_other_stays(cluster: Cluster) -> None:
    old, manager = join_token(cluster, "worker"), join_token(cluster, "manager")
    cluster = replace(cluster, worker_secret=new_secret())
    with pytest.raises(WrongJoinToken) as caught:
        role_by_token(cluster, old)
    assert str(caught.value) == (
        "rpc error: code = InvalidArgument desc = "
        "A valid join token is necessary to join this cluster"
    )
    assert role_by_token(cluster, manager) == "manager"


def test_tokens_name_the_oldest_root_until_a_rotation_is_through(cluster: Cluster) -> None:
    before = join_token(cluster, "worker")
    turning = begin_rotation(cluster, BOX, 1_700_000_000.0)
    assert turning.root_certificate != cluster.root_certificate
    assert pinned_root(turning) == cluster.root_certificate
    assert join_token(turning, "worker") == before
    assert role_by_token(turning, before) == "worker"
    done = finish_rotation(turning)
    token = JoinToken.parse(join_token(done, "worker"))
    assert token.digest == digest_of(turning.root_certificate)
    with pytest.raises(WrongJoinToken):
        role_by_token(done, before)
