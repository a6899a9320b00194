"""``none``: not a line is kept. Options are taken as Docker takes them: there is nothing that they
could bound or mark."""

from __future__ import annotations

from collections.abc import Mapping

from sampan.runtime.log_drivers.contract import UNBOUNDED, FileRule, LogCapabilities
from sampan.runtime.log_drivers.kept import Kept

NAME = "none"


class NoLog(Kept):
    capabilities = LogCapabilities(keeps=False)

    def validate(self, given: Mapping[str, str]) -> None:
        """Nothing is refused."""

    def file_rule(self, given: Mapping[str, str]) -> FileRule:
        return UNBOUNDED
