"""What a daemon without a cluster, and the command, do not pay for."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    [
        "sampan.cli.main",
        "sampan.cli.container.create_request",
        "sampan.api.daemon",
        "sampan.cluster.contract",
        "sampan.cluster.peer.client",
        "sampan.cluster.peer.server",
    ],
)
def test_cryptography_is_loaded_by_members_only(module: str) -> None:
    probe = f"import {module}, sys; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
