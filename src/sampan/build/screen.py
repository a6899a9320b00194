"""What the user reads, in the Dockerfile's order although stages run at once.

The first stage that has not ended speaks live; the others' words wait for their turn. When a stage
fails, what it said before is let out, so that the error is not the first one hears of it.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence

from sampan.build.contract import BuildOutput
from sampan.image.contract import Progress


class Screen:
    def __init__(self, emit: Callable[[BuildOutput], None], order: Sequence[int]) -> None:
        self._emit = emit
        self._held: dict[int, list[BuildOutput]] = {index: [] for index in order}

    def channel(self, index: int) -> Channel:
        return Channel(self, index)

    def say(self, index: int, output: BuildOutput) -> None:
        if next(iter(self._held), index) == index:
            self._emit(output)
        else:
            self._held[index].append(output)

    def close(self, index: int) -> None:
        """The stage has ended: the next one speaks live."""
        first = next(iter(self._held), index) == index
        if not first:
            # Keep its words; an empty turn is skipped when it comes.
            self._held[index].append(_END)
            return
        del self._held[index]
        while self._held:
            index = next(iter(self._held))
            held = self._held[index]
            self._held[index] = []
            ended = bool(held) and held[-1] is _END
            for output in held:
                if output is not _END:
                    self._emit(output)
            if not ended:
                return
            del self._held[index]

    def fail(self, index: int) -> None:
        """Let out what the failed stage had to say."""
        for output in self._held.pop(index, []):
            self._emit(output)


_END = BuildOutput()


class Channel:
    """One stage's voice."""

    def __init__(self, screen: Screen, index: int) -> None:
        self._screen, self._index = screen, index

    def text(self, text: str) -> None:
        if text:
            self._screen.say(self._index, BuildOutput(text=text))

    def progress(self, progress: Progress) -> None:
        self._screen.say(self._index, BuildOutput(progress=progress))

    def decoder(self) -> Callable[[str, bytes], None]:
        """A sink for a step's raw output; a character split between chunks stays whole."""
        decoders = {
            name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")
        }

        def sink(stream: str, chunk: bytes) -> None:
            self.text(decoders[stream].decode(chunk))

        return sink
