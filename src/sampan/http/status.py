"""Error categories and their HTTP statuses: the one table, and how a front differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sampan import errors

STATUS: Mapping[type[BaseException], int] = MappingProxyType(
    {
        errors.NotModified: 304,
        errors.InvalidArgument: 400,
        errors.Unauthorized: 401,
        errors.Forbidden: 403,
        errors.NotFound: 404,
        errors.Conflict: 409,
        errors.Unsupported: 501,
        errors.Exhausted: 507,
        errors.Unavailable: 503,
        errors.Cancelled: 503,
        errors.Internal: 500,
    }
)
CATEGORIES: tuple[type[errors.SampanError], ...] = tuple(
    kind for kind in STATUS if issubclass(kind, errors.SampanError)
)
"""Every category that has a status of its own."""


class Statuses:
    """The table with the exceptions of one front: ``differs`` wins over ``STATUS``."""

    def __init__(self, differs: Mapping[type[BaseException], int] | None = None) -> None:
        self._table: dict[type[BaseException], int] = {**STATUS, **(differs or {})}

    def of(self, error: BaseException) -> int:
        """The status of the nearest class of ``error`` that has one; 500 when there is none."""
        for kind in type(error).__mro__:
            if (status := self._table.get(kind)) is not None:
                return status
        return 500


class MalformedRequest(errors.InvalidArgument):
    """What came is no HTTP request, or has a head that is larger than the front's limits."""

    def __init__(self, why: str) -> None:
        super().__init__(f"malformed HTTP request: {why}")


class NoSuchRoute(errors.NotFound):
    """Nothing is answered under this path, or not to this method.

    ``allowed`` has the methods that the path does have; a front whose clients expect 405 makes
    that of it when it is not empty.
    """

    def __init__(self, method: str, path: str, allowed: frozenset[str] = frozenset()) -> None:
        super().__init__(f"no such page: {method} {path}")
        self.method, self.path, self.allowed = method, path, allowed
