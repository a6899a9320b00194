"""A person's terminal joined to a process in a container, for ``exec`` and ``run``."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType

from sampan.client import Hijacked
from sampan.client.frames import STDERR, Demultiplexer


def join(
    stream: Hijacked, *, stdin: bool, terminal: bool, resize: Callable[[int, int], None]
) -> None:
    """Copy until the process's output ends. ``resize`` takes rows and columns."""
    with ExitStack() as undo:
        fd = sys.stdin.fileno() if stdin else -1
        if terminal and stdin:
            undo.callback(termios.tcsetattr, fd, termios.TCSADRAIN, termios.tcgetattr(fd))
            tty.setraw(fd)
        if terminal:
            _follow_size(resize, undo)
        _copy(stream, fd, terminal)


def _follow_size(resize: Callable[[int, int], None], undo: ExitStack) -> None:
    def fit(number: int, frame: FrameType | None) -> None:
        size = os.get_terminal_size(sys.stdout.fileno())
        resize(size.lines, size.columns)

    undo.callback(signal.signal, signal.SIGWINCH, signal.getsignal(signal.SIGWINCH))
    signal.signal(signal.SIGWINCH, fit)
    fit(signal.SIGWINCH, None)


def _copy(stream: Hijacked, fd: int, terminal: bool) -> None:
    frames = Demultiplexer()
    poller = select.poll()
    poller.register(stream.fileno(), select.POLLIN)
    if fd >= 0:
        poller.register(fd, select.POLLIN)
    else:
        stream.close_write()
    while True:
        ready = {stream.fileno()} if stream.pending else {number for number, _ in poller.poll()}
        if fd in ready:
            data = os.read(fd, 65536)
            if data:
                stream.sendall(data)
            else:
                poller.unregister(fd)
                stream.close_write()
        if stream.fileno() in ready:
            data = stream.recv()
            if not data:
                return
            if terminal:
                _write(1, data)
                continue
            for number, piece in frames.feed(data):
                _write(2 if number == STDERR else 1, piece)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
