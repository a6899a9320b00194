"""Peers speak mutual TLS, and only certificates made for etcd members count."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sampan.aio import SystemClock
from sampan.cluster.ca.certificates import (
    Root,
    issue_etcd,
    issue_node,
    key_pem,
    new_key,
    new_root,
    request,
)
from sampan.cluster.etcd.membership import Members
from sampan.cluster.etcd.process import EtcdProcess
from sampan.cluster.etcd.settings import EtcdSettings, PeerFiles
from sampan.errors import Unavailable
from sampan.testing.contracts.cluster_store import put, service


@dataclass
class Papers:
    """A cluster's authority, writing files into a directory."""

    directory: Path
    root: Root

    def files(self, name: str, *, root: Root | None = None, node: bool = False) -> PeerFiles:
        key, now = new_key(), time.time()
        common: dict[str, Any] = {"cluster_id": "c", "now": now, "lifetime_s": 3600.0}
        issuer = root or self.root
        if node:
            pem = issue_node(issuer, request(key), node_id="n", role="manager", **common)
        else:
            pem = issue_etcd(issuer, request(key), addresses=["127.0.0.1"], **common)
        pair, roots = self.directory / f"{name}.pem", self.directory / "roots.pem"
        pair.write_bytes(key_pem(key) + pem.encode())
        roots.write_text(self.root.certificate)
        return PeerFiles(certificate=pair, key=pair, roots=roots)


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path, new_root(time.time()))


@pytest.fixture
async def first(fleet: Any, papers: Papers, urls: Any) -> Any:
    return await fleet.run(
        EtcdSettings(
            directory=fleet.directory / "m0",
            name="m0",
            peer_url=urls().replace("http:", "https:"),
            peer_files=papers.files("m0"),
        )
    )


async def test_members_meet_by_certificates_and_use_renewed_ones_without_a_restart(
    fleet: Any, papers: Papers, first: Any, urls: Any
) -> None:
    url = urls().replace("http:", "https:")
    second = await fleet.join(url, papers.files("m1"))
    await second.store.update(put(service("web")))
    # renewed under way, by another root: what is connected from now on shows it and is refused,
    # so the files were read again
    papers.files("m1", root=new_root(time.time()))
    first.process.kill()
    with pytest.raises(Unavailable):
        await second.store.update(put(service("refused")))
    papers.files("m1")
    for _ in range(3):
        try:
            await second.store.update(put(service("again")))
            break
        except Unavailable:
            continue
    assert "again" in {s.name for s in second.store.state.services.values()}
    assert second.process.starts == 1


@pytest.mark.parametrize("kind", ["foreign root", "a node's certificate"])
async def test_who_has_no_members_certificate_does_not_get_in(
    fleet: Any, papers: Papers, first: Any, urls: Any, kind: str
) -> None:
    files = papers.files(
        "m1",
        root=new_root(time.time()) if kind == "foreign root" else None,
        node=kind != "foreign root",
    )
    url = urls().replace("http:", "https:")
    members = Members(first.client, SystemClock())
    admission = await members.admit("m1", url)
    process = EtcdProcess(
        EtcdSettings(
            directory=fleet.directory / "m1",
            name="m1",
            peer_url=url,
            peer_files=files,
            initial=admission.initial,
            state="existing",
        ),
        SystemClock(),
    )
    try:
        with pytest.raises(Exception):  # noqa: B017, PT011 - ends at once, or gets no answer
            await process.start(deadline_s=2)
        with pytest.raises(Unavailable):
            await members.promote(admission.member_id, deadline_s=1)
    finally:
        await process.stop()
    await members.remove(admission.member_id)
    await first.store.update(put(service("web")))
