"""What is no HTTP is told in one line of the log."""

from __future__ import annotations

import logging

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from sampan.api.daemon import shorten_bad_http


def record(error: Exception) -> logging.LogRecord:
    try:
        raise error
    except type(error) as raised:
        about = (type(raised), raised, raised.__traceback__)
    return logging.LogRecord("x", logging.ERROR, "x.py", 1, "request from %s", ("a",), about)


def test_a_stranger_that_speaks_something_else() -> None:
    told = record(BadHttpMessage("no"))
    assert shorten_bad_http(told)
    assert "\n" not in logging.Formatter().format(told)
    assert "request from a" in told.getMessage()
    assert told.levelno == logging.INFO


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError()])
def test_what_is_a_bug_keeps_its_traceback(error: Exception) -> None:
    told = record(error)
    assert shorten_bad_http(told)
    assert told.exc_info is not None
    assert told.levelno == logging.ERROR
