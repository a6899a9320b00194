"""The index of images: which there are, what they are called, and what removing one means."""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import replace

from sampan.aio import Clock
from sampan.errors import Conflict, InvalidArgument
from sampan.image.config import chain_id, parse_config, parse_time
from sampan.image.contract import (
    BadReference,
    ImageConfig,
    ImageInUse,
    ImageUser,
    InUse,
    NoSuchImage,
    Reference,
    Removed,
)
from sampan.image.reference import familiar_repository, parse
from sampan.lookup import by_prefix
from sampan.store.contract import Store, Transaction
from sampan.store.records import Image, ImageDigest, ImageTag

_cached_config = lru_cache(maxsize=256)(parse_config)


class ImageIndex:
    """Reads and writes the rows of images, tags and digests. Plain functions only."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    # -- reading

    def get(self, ref: str) -> Image:
        """By full id, reference, or unique id prefix, in this order."""
        store = self._store
        bare = ref.removeprefix("sha256:")
        if (image := store.images.get(f"sha256:{bare}")) is not None:
            return image
        reference = None

        def missing() -> NoSuchImage:
            return NoSuchImage(reference.familiar if reference is not None else ref)

        try:
            reference = parse(ref)
        except BadReference:
            if not _is_hex(bare):
                raise
        if reference is not None and (found := self.named(reference)) is not None:
            return found
        if _is_hex(bare):
            return by_prefix(
                store.images,
                f"sha256:{bare}",
                missing=missing,
                ambiguous=lambda _: Conflict(
                    f"ambiguous image id prefix {ref!r}: write more of it"
                ),
            )
        raise missing()

    def named(self, reference: Reference) -> Image | None:
        """The image of a tag or digest."""
        name = reference.canonical
        row = (
            self._store.image_digests.get(name)
            if reference.digest
            else self._store.image_tags.get(name)
        )
        return self._store.images.get(row.image_id) if row is not None else None

    @staticmethod
    def config(image: Image) -> ImageConfig:
        return _cached_config(image.config)

    def all(self) -> list[Image]:
        """Newest first."""
        return sorted(self._store.images.values(), key=lambda i: i.created_at, reverse=True)

    def tags(self, image_id: str) -> list[str]:
        rows = self._store.image_tags.values()
        return sorted(parse(row.name).familiar for row in rows if row.image_id == image_id)

    def digests(self, image_id: str) -> list[str]:
        rows = self._store.image_digests.values()
        return sorted(parse(row.name).familiar for row in rows if row.image_id == image_id)

    def chains(self) -> set[str]:
        """The chain IDs that images stand on."""
        return {chain_id(image.layers) for image in self._store.images.values()} - {""}

    # -- writing

    def put(
        self,
        image_id: str,
        blob: bytes,
        size: int,
        *,
        names: tuple[Reference, ...] = (),
        manifests: tuple[bytes, ...] = (),
        from_cluster: bool = False,
        parent: str = "",
        comment: str = "",
    ) -> Image:
        """Write an image and its names in one transaction. An image that is here already keeps
        its row.

        Args:
            manifests: the proof of the digests among ``names``.
            from_cluster: of the tags among ``names``, see ``ImageTag``.
        """
        config = parse_config(blob)
        now = self._clock.now()
        known = self._store.images.get(image_id)
        image = known or Image(
            id=image_id,
            config=blob,
            layers=config.diff_ids,
            size=size,
            created_at=parse_time(config.created) if config.created else 0.0,
            parent=parent,
            loaded_at=now,
            comment=comment,
        )
        if any(not name.digest for name in names):
            image = replace(image, last_tagged_at=now)

        def write(tx: Transaction) -> None:
            tx.images.put(image)
            for name in names:
                if name.digest:
                    tx.image_digests.put(_proven(tx, name, image_id, manifests))
                else:
                    tx.image_tags.put(
                        ImageTag(name=name.canonical, image_id=image_id, from_cluster=from_cluster)
                    )

        if image is not known or names:
            self._store.transact(write)
        return image

    def tag(self, image_id: str, ref: str) -> None:
        """Raises NoSuchImage, BadReference, InvalidArgument (a digest is no tag)."""
        image = self.get(image_id)
        name = parse(ref)
        if name.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        self.put(image.id, image.config, image.size, names=(name,))

    def remove(self, ref: str, *, force: bool, prune_parents: bool, in_use: InUse) -> Removed:
        """Docker's semantics: a name goes; with the last name the image goes, and then the
        parents that nothing else needs."""
        image = self.get(ref)
        tags, digests = self._names(image.id)
        by_id = image.id[7:].startswith(ref.removeprefix("sha256:")) and not _names_tag(ref, tags)
        short = image.id[7:19]
        if by_id:
            repositories = {familiar_repository(parse(name)) for name in tags + digests}
            if len(repositories) > 1 and not force:
                raise ImageInUse(
                    f"conflict: unable to delete {short} (must be forced) - image is referenced "
                    "in multiple repositories"
                )
            gone = tags + digests
        else:
            name = parse(ref).canonical
            rest = [tag for tag in tags if tag != name]
            gone = [name]
            if not rest:
                # Digest names say where it came from; they do not keep it.
                gone += [digest for digest in digests if digest != name]
            elif "@" not in name:
                repository = parse(name).repository
                if not any(parse(tag).repository == repository for tag in rest):
                    gone += [d for d in digests if parse(d).repository == repository]
            if rest:
                return Removed(untagged=self._untag(gone))
            user = in_use(image.id)
            if user is not None and not force:
                raise ImageInUse(
                    f'conflict: unable to remove repository reference "{ref}" (must force) - '
                    f"{user.short} is using its referenced image {short}"
                )
            if user is not None or self._children(image.id):
                return Removed(untagged=self._untag(gone))
        self._check_delete(image, short, force, in_use)
        untagged = self._untag(gone)
        deleted = [self._delete(image)]
        while prune_parents and image.parent:
            parent = self._store.images.get(image.parent)
            if parent is None or any(self._names(parent.id)) or self._children(parent.id):
                break
            if in_use(parent.id) is not None:
                break
            deleted.append(self._delete(parent))
            image = parent
        return Removed(untagged=untagged, deleted=tuple(deleted))

    def _check_delete(self, image: Image, short: str, force: bool, in_use: InUse) -> None:
        if self._children(image.id):
            raise ImageInUse(
                f"conflict: unable to delete {short} (cannot be forced) - image has dependent "
                "child images"
            )
        user = in_use(image.id)
        if user is None:
            return
        if user.running:
            raise ImageInUse(
                f"conflict: unable to delete {short} (cannot be forced) - image is being used "
                f"by {_of_kind(user)}"
            )
        if not force:
            raise ImageInUse(
                f"conflict: unable to delete {short} (must be forced) - image is being used by "
                f"{_of_kind(user)}"
            )

    def _names(self, image_id: str) -> tuple[list[str], list[str]]:
        tags = [row.name for row in self._store.image_tags.values() if row.image_id == image_id]
        digests = [
            row.name for row in self._store.image_digests.values() if row.image_id == image_id
        ]
        return sorted(tags), sorted(digests)

    def _children(self, image_id: str) -> bool:
        return any(image.parent == image_id for image in self._store.images.values())

    def _untag(self, names: list[str]) -> tuple[str, ...]:
        def forget(tx: Transaction) -> None:
            for name in names:
                (tx.image_digests if "@" in name else tx.image_tags).delete(name)

        self._store.transact(forget)
        return tuple(parse(name).familiar for name in names)

    def _delete(self, image: Image) -> str:
        self._store.transact(lambda tx: tx.images.delete(image.id))
        return image.id


def _proven(
    tx: Transaction, name: Reference, image_id: str, manifests: tuple[bytes, ...]
) -> ImageDigest:
    known = tx.image_digests.get(name.canonical)
    if not manifests and known is not None and known.image_id == image_id:
        return known
    return ImageDigest(name=name.canonical, image_id=image_id, manifests=manifests)


def _is_hex(text: str) -> bool:
    return 0 < len(text) <= 64 and all(c in "0123456789abcdef" for c in text)


def _names_tag(ref: str, tags: list[str]) -> bool:
    try:
        return parse(ref).canonical in tags
    except BadReference:
        return False


def _of_kind(user: ImageUser) -> str:
    if not user.container_id:
        return user.short
    return f"{'running' if user.running else 'stopped'} {user.short}"
