"""A registry of drivers: the one place that knows which names stand for which implementation.

The composition root registers the built-in drivers, one line each. Whoever needs a driver asks the
registry by the name that the user gave, and asks the driver what it can do (its capabilities);
nobody compares names.

    get    a driver that is registered, or that was found before. Does not suspend
    find   the same, and resolvers are asked for a name that is not registered: a plugin is looked
           for when it is first named, not at start
    listed the names of all that there may be, also of those that nobody has named
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from sampan.errors import InvalidArgument, SampanError
from sampan.single_flight import SingleFlight

D = TypeVar("D")


class OfAnotherKind(InvalidArgument):
    """There is something of that name, and it is a driver of other kinds."""


class Registry(Generic[D]):
    """The drivers of one kind, by name. One registry for each kind and daemon."""

    def __init__(self, kind: str, missing: Callable[[str], SampanError]) -> None:
        """``kind`` is for messages ("log driver"); ``missing`` makes the error for a name that
        stands for no driver, in Docker's words."""
        self.kind = kind
        self._missing = missing
        self._drivers: dict[str, D] = {}
        self._aliases: dict[str, str] = {}
        self._resolvers: list[Callable[[str], Awaitable[D | None]]] = []
        self._listers: list[Callable[[], Awaitable[Sequence[str]]]] = []
        self._searches: SingleFlight[D, None] = SingleFlight(f"find the {kind}")
        """By name: two who ask for one name wait for one search, also when it fails, and for no
        other's."""

    def register(self, name: str, driver: D, *aliases: str) -> None:
        """Make ``driver`` known as ``name``, and as each of ``aliases``, which are not listed.

        Raises:
            ValueError: a name is taken.
        """
        for word in (name, *aliases):
            if word in self._drivers or word in self._aliases:
                raise ValueError(f"two {self.kind}s are called {word!r}")
        self._drivers[name] = driver
        self._aliases.update(dict.fromkeys(aliases, name))

    def add_resolver(
        self,
        resolver: Callable[[str], Awaitable[D | None]],
        lister: Callable[[], Awaitable[Sequence[str]]] | None = None,
    ) -> None:
        """Have ``find`` ask ``resolver`` for names that are not registered, after those added
        before it. It answers None when it does not know the name; what it raises is what the
        caller of ``find`` gets. A driver that it finds is remembered, and listed by ``names``.
        ``lister``: names that the resolver may know, some of which may be ``OfAnotherKind``."""
        self._resolvers.append(resolver)
        if lister is not None:
            self._listers.append(lister)

    def forget(self, name: str) -> None:
        """Take a driver away: the next ``find`` asks the resolvers again. Idempotent."""
        self._drivers.pop(name, None)

    def names(self) -> tuple[str, ...]:
        """Every driver's own name, sorted; of plugins, those that were used since the start."""
        return tuple(sorted(self._drivers))

    def canonical(self, name: str) -> str:
        """The driver's own name for ``name``, which may be an alias of it."""
        return self._aliases.get(name, name)

    def __contains__(self, name: str) -> bool:
        return self.canonical(name) in self._drivers

    def get(self, name: str) -> D:
        """The driver that is registered, or was found, as ``name``.

        Raises:
            SampanError: there is none; the registry's own error.
        """
        driver = self._drivers.get(self.canonical(name))
        if driver is None:
            raise self._missing(name)
        return driver

    async def find(self, name: str) -> D:
        """The same, and resolvers are asked. Suspends only for a name that is not known yet; a
        resolver that takes its time holds up those who ask for the same name, and nobody else.

        Raises:
            SampanError: there is none, or a resolver's own error.
        """
        if name in self:
            return self.get(name)
        return await self._searches.join(name, lambda _: self._search(name), lambda _: None)

    async def listed(self) -> tuple[str, ...]:
        """Names of every driver, and of all that may be one: to ``find`` them may be an error."""
        names = set(self._drivers)
        for lister in self._listers:
            names.update(await lister())
        return tuple(sorted(names))

    async def _search(self, name: str) -> D:
        for resolver in self._resolvers:
            driver = await resolver(name)
            if driver is not None:
                self._drivers[name] = driver
                return driver
        raise self._missing(name)
