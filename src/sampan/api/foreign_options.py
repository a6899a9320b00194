"""Keys of Docker's daemon.json that are not sampand's.

A file that was written for dockerd should start sampand. So a key without a meaning here is told in
a warning, with the reason. But one that makes containers safer, or that says where they are, is not
left out in silence or with a line in a log: the start is refused, unless its value asks for what is
so anyway.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sampan.errors import InvalidArgument

_CONTAINERD = "there is no containerd: images and containers are the daemon's own"
_REALTIME = "containers have no real-time budget here"
_TRANSFERS = "transfers are bounded by themselves"
NO_EFFECT: dict[str, str] = {
    "allow-nondistributable-artifacts": "layers of Windows are not pushed",
    "api-cors-header": "browsers are not let in",
    "bridge-accept-fwmark": "the firewall is sampan's own table and knows no such mark",
    "builder": "the build cache is collected by `docker builder prune` alone",
    "cgroup-parent": "containers are in the daemon's own cgroup",
    "containerd": _CONTAINERD,
    "containerd-namespace": _CONTAINERD,
    "containerd-plugin-namespace": _CONTAINERD,
    "cpu-rt-period": _REALTIME,
    "cpu-rt-runtime": _REALTIME,
    "deprecated-key-path": "a node has a certificate and no such key",
    "experimental": "nothing here is marked so",
    "features": "there is one builder and one image store",
    "firewall-backend": "it is nftables",
    "init-path": "the init is the host's catatonit or tini",
    "ip-forward-no-drop": "the policy of the host's FORWARD chain is left as it is",
    "ip6tables": "IPv6 is filtered with IPv4, by `iptables`",
    "log-format": "the log is text",
    "max-concurrent-downloads": _TRANSFERS,
    "max-concurrent-uploads": _TRANSFERS,
    "max-download-attempts": "a download is tried again as often as it gets further",
    "metrics-addr": "there are no metrics to fetch: see `docker stats` and `docker system df`",
    "network-control-plane-mtu": "managers talk by TCP, which finds its own",
    "node-generic-resources": "generic resources are not scheduled",
    "oom-score-adjust": "start sampand with the score that it shall have",
    "proxies": "set http_proxy, https_proxy and no_proxy for the daemon instead",
    "raw-logs": "the log has no colours",
    "rootless": "the daemon runs as root",
    "storage-opts": "the snapshot drivers have no options",
    "swarm-default-advertise-addr": "give `swarm init` or `swarm join` an --advertise-addr",
    "userland-proxy": "the kernel translates, also for the host's own connections",
    "userland-proxy-path": "the kernel translates, without a proxy",
    "validate": "it is an option of the command line",
}
"""Key -> why it has no effect."""

HARMLESS: dict[str, tuple[object, ...]] = {
    "bridge": ("",),
    "default-gateway": ("",),
    "default-gateway-v6": ("",),
    "default-ipc-mode": ("private",),
    "default-network-opts": ({},),
    "exec-opts": ([], ["native.cgroupdriver=cgroupfs"]),
    "fixed-cidr": ("",),
    "fixed-cidr-v6": ("",),
    "host-gateway-ip": ("",),
    "host-gateway-ips": ([],),
    "icc": (True,),
    "ip": ("", "0.0.0.0"),
    "ip-masq": (True,),
    "ipv6": (False,),
    "allow-direct-routing": (False,),
    "mtu": (0, 1500),
    "seccomp-profile": ("", "builtin"),
    "selinux-enabled": (False,),
    "userns-remap": ("",),
}
"""Key -> the values that ask for what is so anyway; any other one is refused."""


def take_out(said: dict[str, Any], path: Path) -> tuple[str, ...]:
    """Remove these keys from what daemon.json says. Returns warnings.

    Raises:
        InvalidArgument: a key that must not be ignored.
    """
    warnings = []
    for key in list(said):
        if (reason := NO_EFFECT.get(key)) is not None:
            del said[key]
            warnings.append(f"configuration file {path}: {key} has no effect: {reason}")
        elif (harmless := HARMLESS.get(key)) is not None:
            value = said.pop(key)
            if value not in harmless:
                raise InvalidArgument(
                    f"configuration file {path}: {key}: {value!r} is not supported, and to ignore "
                    "it would change where containers are or what they may do: remove it, and give "
                    "networks and containers their own options"
                )
    return tuple(warnings)
