"""``local``: as ``json-file``, and bounded by default: five files of 20 MiB, the complete ones of
which are compressed."""

from __future__ import annotations

from collections.abc import Mapping

from sampan.runtime.log_drivers import options
from sampan.runtime.log_drivers.contract import FileRule, LogCapabilities
from sampan.runtime.log_drivers.kept import Kept

NAME = "local"
DEFAULT = FileRule(20 << 20, 5, True)


class LocalLog(Kept):
    capabilities = LogCapabilities()

    def validate(self, given: Mapping[str, str]) -> None:
        options.check_known(given, options.ROTATION, NAME)
        self.file_rule(given)

    def file_rule(self, given: Mapping[str, str]) -> FileRule:
        return options.rotation(given, DEFAULT)
