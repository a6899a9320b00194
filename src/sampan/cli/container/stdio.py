"""The user's stdin, stdout and stderr joined to a container's, in one thread."""

from __future__ import annotations

import os
import select
import signal
from contextlib import ExitStack, suppress

from sampan.cli.terminal import raw_mode
from sampan.cli.terminal.console import CliError, write_all
from sampan.client.frames import Demultiplexer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.client.connection import Hijacked

_PIECE = 65536
_PROXIED = ("HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "ALRM", "CONT", "TSTP", "TTIN", "TTOU")


def check_tty(wants_stdin: bool, tty: bool) -> None:
    """Raises CliError when a terminal is wanted and stdin is not one."""
    if wants_stdin and tty and not os.isatty(0):
        raise CliError("the input device is not a TTY: leave -t out, or use a terminal")


class StdioSession:
    """One attached stream, from the moment it is open to its end."""

    def __init__(self, stream: Hijacked, *, stdin: bool, tty: bool, keys: str | None) -> None:
        self._stream = stream
        self._stdin = stdin
        self._tty = tty
        # A daemon of before multiplexed-stream says raw-stream for both; it frames without a tty.
        self._framed = not tty
        self._keys = raw_mode.parse_keys(keys or raw_mode.DETACH_KEYS)
        self._typed = b""
        self.detached = False

    def pump(
        self,
        resize: Callable[[int, int], None] | None = None,
        kill: Callable[[str], None] | None = None,
    ) -> None:
        """Copy both ways until the container's output ends.

        ``resize(rows, columns)`` follows the terminal's size; ``kill(name)`` takes the signals
        that this process gets when the container has no terminal of its own.
        """
        with ExitStack() as undo:
            undo.callback(self._stream.close)
            handlers: dict[int, Callable[[int], None]] = {}
            if self._tty and resize is not None and raw_mode.size(1):
                handlers[signal.SIGWINCH] = lambda _got: _follow(resize)
            elif kill is not None and not self._tty:
                handlers.update(_proxies(kill))
            undo.enter_context(raw_mode.on_signals(handlers))
            if self._tty and self._stdin and os.isatty(0):
                undo.enter_context(raw_mode.raw(0))
            self._loop()
        self.detached = bool(self._keys) and self._typed.endswith(self._keys)

    def _loop(self) -> None:
        frames = Demultiplexer()
        poller = select.poll()
        poller.register(self._stream.fileno(), select.POLLIN)
        if self._stdin:
            poller.register(0, select.POLLIN)
        while True:
            ready = [] if self._stream.pending else [fd for fd, _ in poller.poll()]
            if 0 in ready and not self._forward():
                poller.unregister(0)
            if self._stream.pending or self._stream.fileno() in ready:
                data = self._stream.recv(_PIECE)
                if not data:
                    return
                for stream, piece in frames.feed(data) if self._framed else [(1, data)]:
                    write_all(2 if stream == 2 else 1, piece)

    def _forward(self) -> bool:
        """Take what is on stdin; False at its end."""
        try:
            data = os.read(0, _PIECE)
        except OSError:
            data = b""  # the terminal hung up
        if not data:
            self._stream.close_write()
            return False
        self._typed = (self._typed + data)[-64:]
        try:
            self._stream.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False  # the container ended; its last output is still to be read
        return True


def _follow(resize: Callable[[int, int], None]) -> None:
    from sampan.errors import SampanError

    found = raw_mode.size(1)
    if found:
        with suppress(SampanError):  # the container ended in this moment: nothing to resize
            resize(*found)


def fit(resize: Callable[[int, int], None]) -> None:
    """Tell the size of the user's terminal once, as soon as there is something to tell it to."""
    _follow(resize)


def _proxies(kill: Callable[[str], None]) -> dict[int, Callable[[int], None]]:
    from sampan.errors import SampanError

    def forward(number: int) -> None:
        with suppress(SampanError):  # it ended before the signal came
            kill(signal.Signals(number).name.removeprefix("SIG"))

    return {int(getattr(signal, f"SIG{name}")): forward for name in _PROXIED}
