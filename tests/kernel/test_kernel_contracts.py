"""The machine's own kernel keeps to the contracts that the fake keeps to."""

from __future__ import annotations

import os

import pytest

from sampan.kernel.linux import HOST, Linux
from sampan.testing.contracts.netlink import NetlinkContract
from sampan.testing.contracts.nft import NftContract

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class TestHostNetlink(NetlinkContract):
    @pytest.fixture
    def linux(self) -> Linux:
        return HOST


class TestHostNft(NftContract):
    @pytest.fixture
    def linux(self) -> Linux:
        return HOST
