"""Every log driver keeps the contract; what their options mean; what --details shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from sampan.errors import InvalidArgument, SampanError, Unsupported
from sampan.runtime.contract import LogEntry
from sampan.runtime.log_drivers import attributes
from sampan.runtime.log_drivers.contract import FileRule, LogDriver
from sampan.runtime.log_drivers.json_file import JsonFile
from sampan.runtime.log_drivers.local import LocalLog
from sampan.runtime.log_drivers.none import NoLog
from sampan.testing.contracts.log_driver import CONTAINER, LogDriverContract, LogSinkContract
from sampan.testing.toys.log import ToyLog


class TestJsonFile(LogDriverContract):
    @pytest.fixture
    def driver(self) -> LogDriver:
        return JsonFile()


class TestLocalLog(LogDriverContract):
    @pytest.fixture
    def driver(self) -> LogDriver:
        return LocalLog()


class TestNoLog(LogDriverContract):
    refuses_unknown = False

    @pytest.fixture
    def driver(self) -> LogDriver:
        return NoLog()


class TestToyLog(LogSinkContract):
    @pytest.fixture
    def driver(self) -> ToyLog:
        return ToyLog()

    async def received(self, driver: LogDriver) -> Sequence[LogEntry]:
        assert isinstance(driver, ToyLog)
        return driver.taken[CONTAINER.id]


def test_rotation_of_the_drivers_that_keep_files() -> None:
    json_file, local = JsonFile(), LocalLog()
    assert json_file.file_rule({}) == FileRule(0, 1)
    assert local.file_rule({}) == FileRule(20 << 20, 5, True)
    assert json_file.file_rule({"max-size": "10m", "max-file": "3"}) == FileRule(10 << 20, 3)
    assert json_file.file_rule({"max-size": "1.5k"}) == FileRule(1536, 1)
    assert json_file.file_rule({"max-size": "-1"}) == FileRule(0, 1)
    assert local.file_rule({"max-file": "2"}) == FileRule(20 << 20, 2, True)
    assert local.file_rule({"max-file": "1"}) == FileRule(20 << 20, 1)
    assert local.file_rule({"compress": "false"}) == FileRule(20 << 20, 5)
    both = {"max-size": "1k", "max-file": "2", "compress": "true"}
    assert json_file.file_rule(both) == FileRule(1024, 2, True)
    json_file.validate({"max-file": "3", "compress": "false"})


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"max-size": "much"}, InvalidArgument, "invalid max-size 'much'"),
        ({"max-size": "1m", "max-file": "0"}, InvalidArgument, "max-file must be a positive"),
        ({"compress": "true"}, InvalidArgument, "compress cannot be true when max-file is less"),
        ({"compress": "maybe"}, InvalidArgument, "compress: 'maybe'"),
        ({"labels-regex": "("}, InvalidArgument, r"invalid log opt labels-regex: '\('"),
        ({"tag": "{{.Nothing}}"}, InvalidArgument, r"invalid log opt tag: \{\{.Nothing\}\}"),
        ({"tag": "{{.Name"}, InvalidArgument, r"invalid log opt tag: \{\{.Name: close every"),
        ({"tag": "{{.Name}}}}"}, InvalidArgument, r"invalid log opt tag: .*: close every"),
        ({"mode": "non-blocking", "max-buffer-size": "x"}, InvalidArgument, "max-buffer-size 'x'"),
        (
            {"mode": "non-blocking", "max-buffer-size": "-1"},
            InvalidArgument,
            "max-buffer-size '-1'",
        ),
        ({"syslog-address": "udp://h"}, InvalidArgument, "'syslog-address' for json-file log"),
    ],
)
def test_what_json_file_does_not_do_is_refused_with_a_reason(
    options: dict[str, str], error: type[SampanError], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        JsonFile().validate(options)


def test_a_cache_cannot_be_switched_off() -> None:
    with pytest.raises(Unsupported, match="cache-disabled=true is not supported"):
        ToyLog().validate({"cache-disabled": "true"})
    assert ToyLog().file_rule({"cache-max-size": "1m"}) == FileRule(1 << 20, 5)


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, b""),
        ({"labels": "la,nosuch", "env": "EA"}, b"EA=eb,la=lb"),
        ({"labels-regex": "^l"}, b"la=lb,lc=a+b%2C"),
        ({"env-regex": "^E", "env": "PATH"}, b"EA=eb,EC=,PATH=%2Fbin"),
        ({"tag": "{{.Name}}/{{ .ID }}"}, b"tag=boat%2F" + b"c" * 12),
        ({"tag": "{{.ImageName}} {{.ImageID}}"}, b"tag=busybox+111111111111"),
    ],
)
def test_details(options: dict[str, str], shown: bytes) -> None:
    container = dataclasses.replace(
        CONTAINER,
        labels={"la": "lb", "lc": "a b,", "x": "y"},
        env=("EA=eb", "EC=", "PATH=/bin", "NOTSET"),
        options=options,
    )
    assert attributes.details(container) == shown
