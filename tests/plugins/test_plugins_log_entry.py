"""The log entries' codec: known bytes, everything there and back, and what is not one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.plugins.log_entry import (
    MESSAGE_LIMIT,
    BadEntry,
    Entries,
    LogEntry,
    Partial,
    decode,
    encode,
)

pieces = st.builds(Partial, id=st.text(), ordinal=st.integers(0, 2**31 - 1), last=st.booleans())
entries = st.builds(
    LogEntry,
    source=st.text(),
    time_ns=st.integers(-(2**63), 2**63 - 1),
    line=st.binary(),
    partial=st.booleans(),
    piece=st.none() | pieces,
)


def test_bytes_are_those_that_protobuf_makes() -> None:
    entry = LogEntry("stdout", 300, b"hi", True, Partial("ab", 2, True))
    assert encode(entry).hex(" ") == (
        "00 00 00 1b "
        "0a 06 73 74 64 6f 75 74 "
        "10 ac 02 "
        "1a 02 68 69 "
        "20 01 "
        "2a 08 08 01 12 02 61 62 18 02"
    )
    assert encode(LogEntry("", 0, b"")) == b"\0\0\0\0"


@given(st.lists(entries, max_size=5), st.integers(1, 40))
def test_what_is_encoded_is_decoded_however_it_is_cut(sent: list[LogEntry], size: int) -> None:
    data = b"".join(map(encode, sent))
    reader = Entries()
    got: list[LogEntry] = []
    for at in range(0, len(data), size):
        got += reader.feed(data[at : at + size])
    reader.finish()
    assert got == sent


@given(st.binary(max_size=60))
def test_whatever_is_accepted_means_the_same_when_it_is_written_again(data: bytes) -> None:
    try:
        entry = decode(data)
    except BadEntry:
        return  # refused, and nothing worse
    assert decode(encode(entry)[4:]) == entry


def test_fields_of_a_newer_protocol_are_passed_over() -> None:
    newer = bytes.fromhex("32 02 0a 00 38 05 41") + bytes(8)
    message = encode(LogEntry("stderr", 1, b"x"))[4:] + newer
    assert decode(message) == LogEntry("stderr", 1, b"x")


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("0a 05 61", "ends in the middle"),
        ("10", "number that does not end"),
        ("10 ff ff ff ff ff ff ff ff ff ff ff", "number that does not end"),
        ("08 01", "another type"),
        ("0b", "wire type 3"),
    ],
)
def test_what_is_not_an_entry_is_refused(message: str, problem: str) -> None:
    with pytest.raises(BadEntry, match=problem):
        decode(bytes.fromhex(message))


def test_a_length_is_believed_up_to_a_limit() -> None:
    with pytest.raises(BadEntry, match="limit"):
        list(Entries().feed((MESSAGE_LIMIT + 1).to_bytes(4, "big")))


def test_a_stream_that_ends_in_an_entry_is_told() -> None:
    reader = Entries()
    assert list(reader.feed(encode(LogEntry("stdout", 1, b"x"))[:-1])) == []
    with pytest.raises(BadEntry, match="in the middle"):
        reader.finish()
