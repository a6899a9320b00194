from __future__ import annotations

from sampan.build.contract import BuildOutput
from sampan.build.screen import Screen


class Recorder:
    def __init__(self, *order: int) -> None:
        self.heard = ""
        self.screen = Screen(self._hear, order)

    def _hear(self, output: BuildOutput) -> None:
        self.heard += output.text


def test_the_first_speaks_live_and_the_others_wait() -> None:
    r = Recorder(0, 1, 2)
    zero, one, two = (r.screen.channel(n) for n in range(3))
    one.text("b1 ")
    zero.text("a1 ")
    assert r.heard == "a1 "
    two.text("c1 ")
    r.screen.close(2)
    zero.text("a2 ")
    r.screen.close(0)
    assert r.heard == "a1 a2 b1 "
    one.text("b2 ")
    r.screen.close(1)
    assert r.heard == "a1 a2 b1 b2 c1 "


def test_a_failed_stage_is_heard_out_of_turn() -> None:
    r = Recorder(0, 1)
    r.screen.channel(0).text("a ")
    r.screen.channel(1).text("why ")
    r.screen.fail(1)
    assert r.heard == "a why "


def test_a_character_split_between_chunks_stays_whole() -> None:
    r = Recorder(0)
    sink = r.screen.channel(0).decoder()
    for chunk in (b"\xc3", b"\xa9", b"\xff", b"!"):
        sink("stdout", chunk)
    assert r.heard == "é\ufffd!"
