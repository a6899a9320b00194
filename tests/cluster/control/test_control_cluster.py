"""The cluster's own specification."""

from __future__ import annotations

import pytest

from sampan.cluster.control.cluster import check_spec
from sampan.cluster.spec import CaConfig, SwarmSpec
from sampan.errors import InvalidArgument

HOUR_NS = 3600 * 1_000_000_000


@pytest.mark.parametrize("expiry", [0, HOUR_NS, 90 * 24 * HOUR_NS])
def test_certificates_may_live_for_an_hour_and_more(expiry: int) -> None:
    check_spec(SwarmSpec(ca_config=CaConfig(node_cert_expiry=expiry)))


@pytest.mark.parametrize("expiry", [1, HOUR_NS - 1, -5])
def test_and_not_for_less(expiry: int) -> None:
    with pytest.raises(InvalidArgument, match="minimum certificate expiry time is: 1h0m0s"):
        check_spec(SwarmSpec(ca_config=CaConfig(node_cert_expiry=expiry)))
