from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.cluster.peer.limits import Gate, Limits

LIMITS = Limits(
    unknown_per_address=3, unknown_peers=5, members_per_address=2, handshakes_per_s=1.0, burst=6
)


def test_strangers_of_one_address_are_few() -> None:
    gate = Gate(LIMITS)
    assert [gate.arrive("a", 0.0) for _ in range(4)] == [True, True, True, False]
    gate.leave("a", member=False)
    assert gate.arrive("a", 0.0)
    assert gate.turned_away == 1


def test_strangers_of_everywhere_are_few_but_nodes_come_back() -> None:
    gate = Gate(LIMITS)
    assert gate.arrive("node", 0.0)
    assert gate.recognise("node")
    gate.leave("node", member=True)
    assert sum(gate.arrive(f"s{n}", 0.0) for n in range(20)) == 5
    assert gate.arrive("node", 0.0), "where nodes have come from is not shut out"
    assert not gate.arrive("another", 0.0)


def test_handshakes_are_rationed_over_time() -> None:
    gate = Gate(LIMITS)

    def visit(now: float) -> bool:
        let_in = gate.arrive("a", now)
        if let_in:
            gate.leave("a", member=False)
        return let_in

    assert sum(visit(0.0) for _ in range(20)) == 6
    assert sum(visit(2.5) for _ in range(20)) == 2
    assert sum(visit(1000.0) for _ in range(20)) == 6


def test_members_are_counted_apart() -> None:
    gate = Gate(LIMITS)
    for _ in range(2):
        assert gate.arrive("a", 0.0)
        assert gate.recognise("a")
    assert gate.unknown_peers == 0
    assert gate.arrive("a", 0.0)
    assert not gate.recognise("a"), "too many"
    gate.leave("a", member=False)
    gate.leave("a", member=True)
    assert gate.arrive("a", 0.0)
    assert gate.recognise("a")


def test_a_flood_of_addresses_is_not_remembered() -> None:
    gate = Gate(Limits())
    for n in range(20_000):
        if gate.arrive(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", n * 0.01):
            gate.leave(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", member=False)
    assert len(gate._by) < 3000


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("arl"), st.floats(0, 2))))
def test_the_counts_are_those_of_what_is_open(steps: list[tuple[str, str, float]]) -> None:
    gate, now = Gate(LIMITS), 0.0
    unknown_peers = dict.fromkeys("abc", 0)
    members = dict.fromkeys("abc", 0)
    for address, step, later in steps:
        now += later
        if step == "a":
            unknown_peers[address] += gate.arrive(address, now)
        elif step == "r" and unknown_peers[address]:
            known = gate.recognise(address)
            unknown_peers[address] -= known
            members[address] += known
        elif step == "l" and members[address]:
            gate.leave(address, member=True)
            members[address] -= 1
        elif step == "l" and unknown_peers[address]:
            gate.leave(address, member=False)
            unknown_peers[address] -= 1
        assert gate.unknown_peers == sum(unknown_peers.values())
        assert all(count <= 3 for count in unknown_peers.values())
        assert all(count <= 2 for count in members.values())
