"""A way out for the network namespace of another process: a cable to this one, and masquerading.

    python -m sampan.testing.uplink PID

Says ``up`` when it is there; takes everything away at end of file on its standard input. It never
sees what is behind it, so what is in there can be taken for all there is.
"""

from __future__ import annotations

import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.kernel.nft import Nft

NETWORKS = ipaddress.ip_network("198.18.0.0/16")
"""Set apart for tests between devices (RFC 2544): nobody's real network is shadowed."""
DEVICE = "eth0"
"""What the cable is called at the other end."""
ATTEMPTS = 20


class NoUplink(Exception):
    """It could not be made; the sentence says why."""


@contextmanager
def connected(pid: int, name: str) -> Iterator[None]:
    """A cable called ``name`` to the network namespace of ``pid``, and masquerading behind it.

    Raises:
        NoUplink: with what ``ip`` said.
    """
    # as every container engine does; whoever else forwards needs it, so it is not taken back
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    if forward.read_text().strip() == "0":
        forward.write_text("1")
    try:
        _ip([], [f"link add {name} type veth peer name {DEVICE} netns {pid}"])
        theirs = _address(pid, name)
        with Nft() as nft:
            # "owner": the kernel removes the table at the end of this process, however it comes
            nft.run(
                f"table inet {name} {{ flags owner; chain out {{ "
                "type nat hook postrouting priority srcnat; "
                f"ip saddr {theirs} oifname != {name} masquerade; }}; }}"
            )
            yield
    finally:
        # the kernel would do it too, but when it likes
        subprocess.run(["ip", "link", "delete", name], stderr=subprocess.DEVNULL, check=False)


def _address(pid: int, name: str) -> ipaddress.IPv4Address:
    """Give both ends addresses of a network that nobody here has; returns theirs."""
    for _ in range(ATTEMPTS):
        network = _free_network()
        ours, theirs = network.hosts()
        _ip([], [f"address add {ours}/{network.prefixlen} dev {name}", f"link set {name} up"])
        if _shown().count(ours) > 1:
            # another was as fast; the loser takes the next
            _ip([], [f"address flush dev {name}"])
            continue
        _ip(
            ["nsenter", f"--target={pid}", "--net"],
            [
                "link set lo up",
                f"address add {theirs}/{network.prefixlen} dev {DEVICE}",
                f"link set {DEVICE} up",
                f"route add default via {ours}",
            ],
        )
        return theirs
    raise NoUplink(f"no network of {NETWORKS} stays free")


def _ip(prefix: list[str], lines: list[str]) -> None:
    done = subprocess.run(
        [*prefix, "ip", "-batch", "-"],
        input="\n".join(lines), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise NoUplink(done.stderr.strip())


def _shown() -> list[ipaddress.IPv4Address]:
    shown = subprocess.run(
        ["ip", "-4", "-json", "address"], capture_output=True, text=True, check=True
    )
    return [
        ipaddress.IPv4Address(address["local"])
        for link in json.loads(shown.stdout)
        for address in link.get("addr_info", ())
    ]


def _free_network() -> ipaddress.IPv4Network:
    taken = set(_shown())
    for network in NETWORKS.subnets(new_prefix=30):
        assert isinstance(network, ipaddress.IPv4Network)
        if not taken & set(network.hosts()):
            return network
    raise NoUplink(f"every network of {NETWORKS} is taken")


def main(pid: int) -> None:
    with connected(pid, f"smpt{pid}"):
        print("up", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
