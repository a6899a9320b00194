"""Bodies of the cluster's endpoints: what is said of a word that a field does not know."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.api import decode
from sampan.cluster.spec import NodeSpec, ServiceSpec
from sampan.errors import InvalidArgument


@pytest.mark.parametrize(
    ("kind", "raw", "said"),
    [
        (NodeSpec, {"Availability": "gone"}, 'invalid Availability: "gone"'),
        (NodeSpec, {"Role": "boss"}, 'invalid Role: "boss"'),
        (ServiceSpec, {"EndpointSpec": {"Mode": "x"}}, 'invalid resolution mode: "x"'),
        (ServiceSpec, {"UpdateConfig": {"Order": "a 'b'"}}, "unrecognized update order a 'b'"),
        (
            ServiceSpec,
            {"RollbackConfig": {"FailureAction": "{}"}},
            "unrecognized update failure action {}",
        ),
    ],
)
def test_words_that_no_field_knows(kind: Any, raw: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        decode.read(raw, kind)
    assert str(refused.value) == said


def test_a_wrong_type_is_named_by_its_path() -> None:
    with pytest.raises(InvalidArgument, match=r"invalid JSON: .*\$\.EndpointSpec\.Mode"):
        decode.read({"EndpointSpec": {"Mode": 3}}, ServiceSpec)
