"""Images: references, blobs, layers and snapshots, the registry client, archives.

``open_images`` is looked up late: the worker process imports this package too, and must not pay
for an HTTP client that it never uses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sampan.image.service import ImageService, open_images

__all__ = ["ImageService", "open_images"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from sampan.image import service

        return getattr(service, name)
    raise AttributeError(name)
