"""``json-file``: the engine's own file, one a container, which grows unless it is told not to.

The name is Docker's; the file is in the monitor's format, which every reader here understands.
"""

from __future__ import annotations

from collections.abc import Mapping

from sampan.runtime.log_drivers import attributes, options
from sampan.runtime.log_drivers.contract import FileRule, LogCapabilities
from sampan.runtime.log_drivers.kept import Kept

NAME = "json-file"


class JsonFile(Kept):
    capabilities = LogCapabilities()

    def validate(self, given: Mapping[str, str]) -> None:
        options.check_known(given, options.ROTATION | options.ATTRIBUTES, NAME)
        attributes.check(given)
        self.file_rule(given)

    def file_rule(self, given: Mapping[str, str]) -> FileRule:
        return options.rotation(given)
