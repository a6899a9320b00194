"""Options of the ``local`` driver: what to mount on a volume's data directory, if anything.

--opt type=nfs --opt o=addr=10.0.0.5,rw --opt device=:/export
--opt type=none --opt o=bind --opt device=/srv/data
--opt type=tmpfs --opt o=size=64m,uid=1000 --opt device=tmpfs
"""

from __future__ import annotations

from dataclasses import dataclass

from sampan.errors import InvalidArgument, Unsupported
from sampan.kernel import mount as kernel

_FLAGS: dict[str, tuple[int, bool]] = {
    # word of o=: (bits, set or clear)
    "ro": (kernel.MS_RDONLY, True),
    "rw": (kernel.MS_RDONLY, False),
    "nosuid": (kernel.MS_NOSUID, True),
    "suid": (kernel.MS_NOSUID, False),
    "nodev": (kernel.MS_NODEV, True),
    "dev": (kernel.MS_NODEV, False),
    "noexec": (kernel.MS_NOEXEC, True),
    "exec": (kernel.MS_NOEXEC, False),
    "noatime": (kernel.MS_NOATIME, True),
    "atime": (kernel.MS_NOATIME, False),
    "relatime": (kernel.MS_RELATIME, True),
    "norelatime": (kernel.MS_RELATIME, False),
    "bind": (kernel.MS_BIND, True),
    "rbind": (kernel.MS_BIND | kernel.MS_REC, True),
    "remount": (kernel.MS_REMOUNT, True),
    "defaults": (0, True),
}

_NEEDS = {"device": ("type",), "type": ("device",), "o": ("device", "type")}


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Arguments of mount(2)."""

    device: str
    fstype: str
    flags: int
    data: str

    @property
    def address(self) -> str:
        """``addr=`` of a network file system: a host name that the kernel wants as an address."""
        for word in self.data.split(","):
            if word.startswith("addr="):
                return word.removeprefix("addr=")
        return ""

    def with_address(self, address: str) -> MountOptions:
        words = [f"addr={address}" if w.startswith("addr=") else w for w in self.data.split(",")]
        return MountOptions(self.device, self.fstype, self.flags, ",".join(words))


def parse_options(options: dict[str, str]) -> MountOptions | None:
    """None: a plain directory.

    Raises:
        InvalidArgument: an unknown option, or one without those that it needs.
        Unsupported: ``size``, which needs project quotas.
    """
    for key in options:
        if key == "size":
            raise Unsupported(
                "quota size requested but no quota support: use type=tmpfs with o=size=... , or "
                "a file system of that size"
            )
        if key not in ("type", "o", "device"):
            raise InvalidArgument(f'invalid option: "{key}"')
    for key in options:
        for needed in _NEEDS[key]:
            if not options.get(needed):
                raise InvalidArgument(f'missing required option: "{needed}"')
    if not options:
        return None
    flags, data = 0, []
    for word in options.get("o", "").split(","):
        if word in _FLAGS:
            bits, on = _FLAGS[word]
            flags = flags | bits if on else flags & ~bits
        elif word:
            data.append(word)
    return MountOptions(options["device"], options["type"], flags, ",".join(data))
