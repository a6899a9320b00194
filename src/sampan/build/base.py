"""What ``FROM`` and ``COPY --from=image`` stand on: a local image, or one to be pulled."""

from __future__ import annotations

from sampan.build.job import Job
from sampan.build.screen import Channel
from sampan.image.contract import Credentials, NoSuchImage
from sampan.image.manifest import fits, parse_platform
from sampan.image.reference import parse
from sampan.store.records import Image

_HUB = ("docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")


async def base_image(job: Job, ref: str, platform: str, out: Channel) -> Image:
    """The local image, unless it is missing, for another platform, or ``--pull`` was given.

    Raises:
        NoSuchImage, BadReference, RegistryFailed, Unauthorized ...
    """
    images = job.parts.images
    if not job.request.pull:
        try:
            image = images.get(ref)
        except NoSuchImage:
            pass
        else:
            if not platform or fits(images.config(image), parse_platform(platform)):
                return image
    reference = parse(ref)
    out.text(f"{reference.tag or reference.digest}: Pulling from {reference.repository}\n")
    image = await images.pull(
        ref,
        credentials=_credentials(job.request.credentials, reference.registry),
        platform=platform,
        report=out.progress,
    )
    out.text(f"Status: Downloaded newer image for {reference.familiar}\n")
    return image


def _credentials(known: dict[str, Credentials], registry: str) -> Credentials | None:
    names = (
        _HUB
        if registry == "docker.io"
        else (registry, *(f"{s}://{registry}{p}" for s in ("https", "http") for p in ("", "/v1/")))
    )
    return next((known[name] for name in names if name in known), None)
