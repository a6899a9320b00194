"""The drivers of one daemon: five registries, filled by the composition root and by plugins."""

from __future__ import annotations

from dataclasses import dataclass, field

from sampan.drivers import Registry
from sampan.network.drivers.contract import (
    IpamDriver,
    NetworkDriver,
    UnknownIpamDriver,
    UnknownNetworkDriver,
)
from sampan.runtime.log_drivers.contract import LogDriver, UnknownLogDriver
from sampan.runtime.oci_runtimes.contract import OciRuntime, UnknownRuntime
from sampan.volume.contract import NoSuchDriver, VolumeDriver


@dataclass(frozen=True, slots=True)
class Drivers:
    """Every driver that containers, volumes and networks can name."""

    log: Registry[LogDriver] = field(
        default_factory=lambda: Registry("log driver", UnknownLogDriver)
    )
    volume: Registry[VolumeDriver] = field(
        default_factory=lambda: Registry("volume driver", NoSuchDriver)
    )
    network: Registry[NetworkDriver] = field(
        default_factory=lambda: Registry("network driver", UnknownNetworkDriver)
    )
    ipam: Registry[IpamDriver] = field(
        default_factory=lambda: Registry("IPAM driver", UnknownIpamDriver)
    )
    runtime: Registry[OciRuntime] = field(
        default_factory=lambda: Registry("OCI runtime", UnknownRuntime)
    )

    def plugins(self) -> tuple[tuple[str, str], ...]:
        """(type, name) of every driver that a container can be placed by, as ``info``, a node's
        description and the scheduler know them: "Log", "Network" and "Volume"."""
        kinds = (
            ("Log", self.log.names()),
            ("Network", self.network.names()),
            ("Volume", self.volume.names()),
        )
        return tuple((kind, name) for kind, names in kinds for name in names)
