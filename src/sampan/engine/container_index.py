"""Who is there: containers by name, id and prefix of an id, on top of the store's rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sampan.engine.contract import AmbiguousContainer, NameTaken, NoSuchContainer
from sampan.lookup import by_prefix
from sampan.store.contract import Store, Transaction
from sampan.store.records import Container


class ContainerIndex:
    """Reads and writes container rows; every write of a name goes through here."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._names = {c.name: c.id for c in store.containers.values()}
        """Names in use, those of containers being created included."""

    # -- reading

    def get(self, ref: str) -> Container:
        """By full id, name (with or without its slash) or unique prefix of an id.

        Raises:
            NoSuchContainer, AmbiguousContainer.
        """
        rows = self._store.containers
        if (found := rows.get(ref)) is not None:
            return found
        holder = self._names.get(ref.removeprefix("/"))
        if holder is not None and (found := rows.get(holder)) is not None:
            return found
        return by_prefix(
            rows,
            ref,
            missing=lambda: NoSuchContainer(ref),
            ambiguous=lambda _: AmbiguousContainer(ref),
        )

    def find(self, container_id: str) -> Container | None:
        """By full id."""
        return self._store.containers.get(container_id)

    def all(self) -> list[Container]:
        """Newest first."""
        return sorted(self._store.containers.values(), key=lambda c: c.created_at, reverse=True)

    def name_taken(self, name: str) -> bool:
        return name in self._names

    # -- writing

    def reserve(self, name: str, container_id: str) -> None:
        """Raises NameTaken. Give it back with ``release`` unless the container comes to be."""
        if (holder := self._names.get(name)) is not None:
            raise NameTaken(name, holder)
        self._names[name] = container_id

    def release(self, name: str) -> None:
        self._names.pop(name, None)

    def add(self, container: Container) -> None:
        """Store a new container, whose name is reserved; its volumes are there to stay."""

        def keep(tx: Transaction) -> None:
            tx.containers.put(container)
            for name in {p.name for p in container.mount_points if p.type == "volume"}:
                volume = self._store.volumes.get(name)
                if volume is not None and volume.provisional:
                    tx.volumes.put(msgspec.structs.replace(volume, provisional=False))

        self._store.transact(keep)

    def change(self, container_id: str, change: Callable[[Container], Container]) -> Container:
        """Store ``change`` of the row as it is now.

        Raises:
            NoSuchContainer: it is gone.
        """
        if (row := self._store.containers.get(container_id)) is None:
            raise NoSuchContainer(container_id)
        new = change(row)
        if new is not row:
            self._store.transact(lambda tx: tx.containers.put(new), frees=_gives_up(row, new))
        return new

    def rename(self, container: Container, name: str) -> Container:
        """Raises NameTaken."""
        self.reserve(name, container.id)
        try:
            new = self.change(container.id, lambda c: msgspec.structs.replace(c, name=name))
        except BaseException:
            self.release(name)
            raise
        self.release(container.name)
        return new

    def forget(self, container: Container, doomed: Sequence[str] = ()) -> None:
        """Drop the row. ``doomed``: volumes that go now, or at the next start if we are killed."""

        def drop(tx: Transaction) -> None:
            tx.containers.delete(container.id)
            for name in doomed:
                if (volume := self._store.volumes.get(name)) is not None:
                    tx.volumes.put(msgspec.structs.replace(volume, provisional=True))

        self._store.transact(drop)
        self.release(container.name)


def _gives_up(old: Container, new: Container) -> bool:
    """Whether the change is a step on the way out, which a full disk must not stand in: a removal
    begins with a mark, an end with a request, and a run that has ended gives back what it held."""
    if old.run is None or new.run is None:
        return new.removing
    return (
        new.removing
        or (new.run.stop_requested and not old.run.stop_requested)
        or (old.running and not new.running)
    )
