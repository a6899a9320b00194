"""Whether an image runs on what was asked for with ``--platform``, and on this machine."""

from __future__ import annotations

from sampan.image.contract import ImageConfig, NoSuchImage
from sampan.image.manifest import fits, parse_platform


class WrongPlatform(NoSuchImage):
    """The image that is here is for another platform. "Not found", so that clients pull."""

    def __init__(self, ref: str, config: ImageConfig, wanted: str) -> None:
        super().__init__(ref)
        self.args = (
            f"No such image: {ref} for the platform {wanted}: the one that is here is for "
            f"{platform_of(config)}. Pull it with --platform {wanted}, or leave the option out",
        )


def platform_of(config: ImageConfig) -> str:
    """In the words of ``--platform``."""
    parts = (config.os, config.architecture, config.variant)
    return "/".join(part for part in parts if part)


def check_platform(ref: str, config: ImageConfig, wanted: str) -> None:
    """Raises WrongPlatform; InvalidArgument: ``wanted`` is no platform."""
    if wanted and not fits(config, parse_platform(wanted)):
        raise WrongPlatform(ref, config, wanted)


def foreign_platform(config: ImageConfig, wanted: str) -> tuple[str, ...]:
    """A warning, when nobody asked for a platform and the image is not for this machine."""
    host = parse_platform("")
    if wanted or fits(config, host):
        return ()
    return (
        f"The requested image's platform ({platform_of(config)}) does not match the detected host "
        f"platform ({host}) and no specific platform was requested",
    )
