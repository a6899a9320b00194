"""DNS messages, the table of names and the cache: no socket."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.network.dns import message
from sampan.network.dns.forward import Cache, fits
from sampan.network.dns.message import Malformed
from sampan.network.dns.table import DnsEndpoint, DnsTable

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
NAME = st.lists(LABEL, max_size=4).map(".".join)


@given(NAME, st.integers(0, 65535), st.integers(1, 65535), st.integers(0, 65535))
def test_a_query_is_read_as_it_was_written(name: str, number: int, kind: int, limit: int) -> None:
    query = message.parse_query(message.write_query(number, name, kind, udp_limit=limit))
    assert (query.id, query.name, query.type, query.edns) == (number, name, kind, limit > 0)
    assert query.udp_limit == max(512, limit)


@given(st.binary(max_size=120))
def test_noise_is_malformed_or_a_query_and_nothing_else(noise: bytes) -> None:
    for read in (message.parse_query, message.ttls):
        try:
            read(noise)
        except Malformed:
            continue


def test_a_name_that_points_at_itself_ends() -> None:
    with pytest.raises(Malformed):
        message.read_name(b"\0" * 12 + b"\xc0\x0c", 12)


def query(name: str, kind: int = message.A, *, limit: int = 0) -> message.Query:
    return message.parse_query(message.write_query(5, name, kind, udp_limit=limit))


@given(st.integers(0, 200), st.sampled_from([0, 512, 1232, 4096]))
def test_a_datagram_never_exceeds_what_the_client_takes(count: int, limit: int) -> None:
    records = [(message.A, bytes(4))] * count
    asked = query("x", limit=limit)
    packet = message.answer(asked, 0, records, 5)
    assert len(packet) <= asked.udp_limit
    flags, _, answered = struct.unpack_from("!HHH", packet, 2)
    assert bool(flags & message.TC) == (answered < count)
    message.ttls(packet)


@pytest.fixture
def table() -> DnsTable:
    made = DnsTable()
    made.join(
        "web", "front", DnsEndpoint(("10.0.0.2",), ("web", "app"), "front", (("db", "store"),))
    )
    made.join("db", "front", DnsEndpoint(("10.0.0.3", "fd00::3"), ("db", "app"), "front"))
    made.join("far", "back", DnsEndpoint(("10.9.0.2",), ("far", "app"), "back"))
    return made


@pytest.mark.parametrize(
    ("who", "name", "addresses"),
    [
        ("web", "db", ("10.0.0.3", "fd00::3")),
        ("web", "db.front", ("10.0.0.3", "fd00::3")),
        ("web", "app", ("10.0.0.2", "10.0.0.3", "fd00::3")),
        ("web", "store", ("10.0.0.3", "fd00::3")),
        ("db", "store", ()),
        ("web", "far", ()),
        ("far", "app", ("10.9.0.2",)),
        ("nobody", "web", ()),
    ],
)
def test_who_sees_which_name(
    table: DnsTable, who: str, name: str, addresses: tuple[str, ...]
) -> None:
    assert table.lookup(who, name) == addresses


def test_several_addresses_are_given_in_turn(table: DnsTable) -> None:
    turns = table.answers("web", query("app"), stream=False)
    assert turns is not None
    firsts = [next(turns)[-4 - 16 : -16] for _ in range(4)]
    assert firsts == [bytes([10, 0, 0, 2]), bytes([10, 0, 0, 3])] * 2


def test_a_name_of_ours_without_that_record_is_no_data(table: DnsTable) -> None:
    turns = table.answers("web", query("web", message.AAAA), stream=False)
    assert turns is not None
    flags, _, count = struct.unpack_from("!HHH", next(turns))
    assert (flags & 0xF, count) == (message.NOERROR, 0)


def test_what_is_not_ours_is_for_the_outside(table: DnsTable) -> None:
    assert table.answers("web", query("example.org"), stream=False) is None
    assert table.answers("web", query("1.0.0.127.in-addr.arpa", message.PTR), stream=False) is None


def test_who_left_is_not_answered_for(table: DnsTable) -> None:
    table.leave("db", "front")
    assert table.lookup("web", "db") == ()
    table.drop("web")
    table.drop("web")
    assert table.lookup("web", "web") == ()


def test_the_whole_truth_replaces_at_once(table: DnsTable) -> None:
    table.begin()
    table.join("web", "front", DnsEndpoint(("10.0.0.9",), ("web",), "front"))
    table.commit()
    assert table.lookup("web", "web") == ("10.0.0.9",)
    assert table.lookup("web", "db") == ()
    assert table.lookup("far", "far") == ()


def test_a_kept_answer_ages_and_ends() -> None:
    cache, servers = Cache(entries=2), ("192.0.2.53",)
    asked = message.write_query(9, "example.org", message.A)
    answer = message.answer(message.parse_query(asked), 0, [(message.A, bytes(4))], 30)
    cache.put(servers, asked, False, answer, now=100.0)
    later = cache.get(servers, b"\7\7" + asked[2:], False, now=110.5)
    assert later[:2] == b"\7\7"
    assert message.ttls(later)[1] == 20
    assert cache.get(("192.0.2.54",), asked, False, now=110.0) == b""
    assert cache.get(servers, asked, False, now=130.0) == b""
    assert len(cache) == 0


def test_failures_are_not_kept_and_the_cache_is_bounded() -> None:
    cache = Cache(entries=2)
    for number in range(5):
        asked = message.write_query(1, f"n{number}", message.A)
        parsed = message.parse_query(asked)
        cache.put((), asked, False, message.answer(parsed, message.SERVFAIL, [], 0), 0.0)
        assert len(cache) == min(number, 2)
        cache.put((), asked, False, message.answer(parsed, 0, [(1, bytes(4))], 9), 0.0)
    assert len(cache) == 2


def test_an_answer_to_another_question_does_not_fit() -> None:
    sent = message.write_query(1, "a.example", message.A)
    right = message.answer(message.parse_query(sent), 0, [], 0)
    other = message.write_query(1, "b.example", message.A)
    assert fits(sent, right)
    assert not fits(sent, rb"\9" + right[1:])
    assert not fits(sent, message.answer(message.parse_query(other), 0, [], 0))
    assert not fits(sent, sent)


def test_names_stay_while_the_whole_truth_is_being_told(table: DnsTable) -> None:
    before = table.lookup("web", "db")
    assert before
    table.begin()
    assert table.lookup("web", "db") == before
    table.join("web", "lake", DnsEndpoint(("10.0.0.2",), ("web",), "lake"))
    assert table.lookup("web", "db") == before
    table.abandon()  # killed in the middle of its sentence
    assert table.lookup("web", "db") == before
