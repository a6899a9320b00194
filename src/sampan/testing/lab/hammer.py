"""Visitors who never stop asking, each time by a new connection; one failed request is told.

``python -m sampan.testing.lab.hammer URL VISITORS`` asks until SIGTERM, then prints what it saw.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from sampan.testing.lab.host import LabHost

ANSWER_WITHIN_S = 5.0


@dataclass(slots=True)
class Seen:
    """What the visitors saw."""

    answers: dict[str, int] = field(default_factory=dict)
    """Body of a page -> how often it came."""
    failures: list[str] = field(default_factory=list)
    longest_s: float = 0.0
    """The longest time from a request to its answer."""

    @property
    def count(self) -> int:
        return sum(self.answers.values())


class Hammer:
    """Visitors on a host, from ``with`` to its end; ``seen`` is there after it."""

    def __init__(self, host: LabHost, url: str, visitors: int = 2) -> None:
        self.host, self.url, self.visitors = host, url, visitors
        self.seen = Seen()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Hammer:
        command = (sys.executable, "-m", __name__, self.url, str(self.visitors))
        self._process = self.host.popen(*command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        first = self._process.stdout.readline()
        if first != b"first answer\n":
            raise AssertionError(f"{self.url} does not answer {self.host.name}: {first!r}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        out, _err = self._process.communicate(timeout=30)
        found: dict[str, Any] = json.loads(out or b"{}")
        self.seen = Seen(**found)


class Visit:
    """One request, by a connection of its own, and how far it has come."""

    def __init__(self, host: str, port: int, path: str) -> None:
        self._host, self._port, self._path = host, port, path
        self._began = time.monotonic()
        self._link = socket.socket()
        self._link.settimeout(ANSWER_WITHIN_S)
        self._connected_s: float | None = None
        self._answer = b""

    def ask(self) -> str:
        """The body of the page. Raises OSError or ValueError."""
        self._link.connect((self._host, self._port))
        self._connected_s = time.monotonic() - self._began
        words = f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n"
        self._link.sendall(words.encode())
        while piece := self._link.recv(65536):
            self._answer += piece
        head, _, body = self._answer.partition(b"\r\n\r\n")
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise ValueError(f"answered {head[:100]!r}")
        return body.decode(errors="replace").strip()

    def story(self) -> str:
        """What became of it, for whoever looks for the reason of a failure."""
        port = self._link.getsockname()[1]
        took = time.monotonic() - self._began
        if self._connected_s is None:
            how_far = f"not connected in {took:.3f} s"
        else:
            how_far = f"connected after {self._connected_s:.3f} s, then {took:.3f} s in all"
        # struct tcp_info: the state, how often in a row a packet was sent again, packets unacked
        info = self._link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
        return (
            f"port {port}: {how_far}, {len(self._answer)} bytes came; TCP state {info[0]}, "
            f"sent again {info[2]} times, "
            f"{int.from_bytes(info[24:28], sys.byteorder)} packets unacknowledged"
        )

    def close(self) -> None:
        self._link.close()


def _now() -> str:
    return datetime.now().isoformat(timespec="milliseconds").partition("T")[2]


def main(url: str, visitors: int) -> None:
    parts = urlsplit(url)
    stopped = threading.Event()
    began = threading.Event()
    lock = threading.Lock()
    seen = Seen()
    since = _now()

    def visit() -> None:
        while not stopped.is_set():
            begin = time.monotonic()
            asking = Visit(parts.hostname or "", parts.port or 80, parts.path or "/")
            try:
                body = asking.ask()
            except (OSError, ValueError) as error:
                with lock:
                    seen.failures.append(
                        f"{_now()} {type(error).__name__}: {error} ({asking.story()}; "
                        f"{seen.count} visits before it, since {since})"
                    )
                stopped.wait(0.05)
                continue
            finally:
                asking.close()
            with lock:
                seen.answers[body] = seen.answers.get(body, 0) + 1
                seen.longest_s = max(seen.longest_s, time.monotonic() - begin)
            began.set()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()
        began.set()

    signal.signal(signal.SIGTERM, stop)
    threads = [threading.Thread(target=visit) for _ in range(visitors)]
    for thread in threads:
        thread.start()
    began.wait(ANSWER_WITHIN_S * 2)
    print("first answer" if seen.answers else f"no answer: {seen.failures[:1]}", flush=True)
    for thread in threads:
        thread.join()
    print(
        json.dumps(
            {"answers": seen.answers, "failures": seen.failures, "longest_s": seen.longest_s}
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
