"""The kernel in memory keeps to what the real one keeps to, and lacks what it is told to lack."""

from __future__ import annotations

import errno

import pytest

from sampan.errors import Unsupported
from sampan.kernel import netlink
from sampan.kernel.linux import Linux
from sampan.kernel.nft import NftError
from sampan.testing.contracts.netlink import NetlinkContract, outcome
from sampan.testing.contracts.nft import NftContract
from sampan.testing.faults import Faults
from sampan.testing.linux import FEATURES, FakeLinux


class TestFakeNetlink(NetlinkContract):
    @pytest.fixture
    def linux(self) -> Linux:
        return FakeLinux().linux


class TestFakeNft(NftContract):
    @pytest.fixture
    def linux(self) -> Linux:
        return FakeLinux().linux


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan", "wireguard", "vxlan"])
def test_a_feature_that_is_left_out_is_not_there(kind: str) -> None:
    has, has_not = FakeLinux(), FakeLinux(FEATURES - {kind})
    for kernel, expected in ((has, 0), (has_not, errno.EOPNOTSUPP)):
        with kernel.linux.netlink() as link:
            link.do(netlink.add_link("lower", "dummy"))
            made = netlink.add_link("x", kind, lower=kernel.linux.index_of("lower"))
            if kind == "vxlan":
                continue
            assert outcome(link, made) == expected


def test_without_ipv6_and_nftables() -> None:
    kernel = FakeLinux(FEATURES - {"ipv6", "nftables"})
    with pytest.raises(FileNotFoundError):
        kernel.linux.sysctl.read("net.ipv6.conf.all.forwarding")
    with pytest.raises(Unsupported):
        kernel.linux.nft()


def test_any_call_can_fail_and_does_nothing_then() -> None:
    kernel = FakeLinux()
    kernel.faults = Faults(fail_at=2)
    kernel.faults.armed = True
    with kernel.linux.netlink() as link:
        assert outcome(link, netlink.add_link("x", "dummy")) == errno.ENOMEM
        assert kernel.home.empty
        assert outcome(link, netlink.add_link("x", "dummy")) == 0
    assert not kernel.home.empty
    kernel.faults = Faults(fail_at=1)
    with kernel.linux.nft() as nft:
        kernel.faults.armed = True
        with pytest.raises(NftError, match="injected"):
            nft.run("add table ip t")
    assert not kernel.home.tables
