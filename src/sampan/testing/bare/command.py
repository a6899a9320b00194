"""``script/bare [--keep] [--without PACKAGE] COMMAND...``"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

from sampan.testing.bare.machine import Order, run
from sampan.testing.bare.root import BareFailed
from sampan.testing.uplink import NoUplink

FAILED = 125
"""The exit status when it is not the command's: the machine could not be made."""


def parse(arguments: list[str]) -> tuple[Order, int | None]:
    parser = argparse.ArgumentParser(
        prog="script/bare",
        description="Run a command on a machine that has a minimal system and the checkout. Its "
        "exit status is the command's, or 125.",
    )
    parser.add_argument("--keep", action="store_true", help="leave the root directory for a look")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="take a package out of script/setup's list first, to see that it is missed",
    )
    parser.add_argument("--lifeline", type=int, help=argparse.SUPPRESS)
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND...")
    given = parser.parse_args(arguments)
    if not given.command:
        parser.error("which command?")
    return Order(given.command, given.keep, given.without), given.lifeline


def main(arguments: list[str]) -> int:
    order, lifeline = parse(arguments)
    if lifeline is None:
        return _hold(arguments)
    try:
        return run(Path.cwd(), order, lifeline)
    except (BareFailed, NoUplink, subprocess.CalledProcessError) as error:
        print(f"bare: {error}", file=sys.stderr)
        return FAILED


def _hold(arguments: list[str]) -> int:
    """Start the supervisor and wait for it; a signal goes to the command, a second one of them
    (or one that is not ^C) ends the machine."""
    ours, theirs = os.pipe()
    # Written by the handler: in the kernel's buffer, as the supervisor may not read just now.
    words = [sys.executable, "-m", "sampan.testing.bare.command", f"--lifeline={ours}", *arguments]
    supervisor = subprocess.Popen(words, pass_fds=[ours], start_new_session=True)
    os.close(ours)
    line: int | None = theirs
    got = 0

    def on_signal(number: int, _frame: FrameType | None) -> None:
        nonlocal line, got
        if line is not None:
            if number == signal.SIGINT and not got:
                os.write(line, bytes([number]))
            else:
                os.close(line)
                line = None
        got = number

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)
    code = supervisor.wait()
    return 128 + got if got else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
