"""A container's stdio over a connection that was taken over: the head that Docker's clients expect,
and the pump in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from sampan.aio import Tasks, first_of
from sampan.api.frames import DetachKeys, frame
from sampan.http.hijack import LINGER_S, Hijacked, RawConnection
from sampan.http.hijack import take_over as take_over_with
from sampan.runtime.contract import AttachStream, Stream

Outcome = Literal["ended", "detached", "gone"]


def take_over(request: web.BaseRequest, content_type: str) -> RawConnection:
    """Answer the request's head and take its connection over.

    With an ``Upgrade`` header the answer is 101, without (old clients) 200.
    """
    if "Upgrade" in request.headers:
        head = (
            "HTTP/1.1 101 UPGRADED\r\n"
            f"Content-Type: {content_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
        )
    else:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n\r\n"
    return take_over_with(request, head.encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pumping:
    """Which of the streams a client wants, and how."""

    stdin: bool
    stdout: bool
    stderr: bool
    tty: bool
    close_stdin: bool
    """The client's end of file is the container's, too."""
    detach_keys: bytes = b""
    """Empty: nothing detaches."""


async def pump(raw: RawConnection, stream: AttachStream, how: Pumping) -> Outcome:
    """Copy both ways until the output ends, the client detaches or is gone.

    A client that is gone is noticed when there is something to send to it.
    """
    tasks = Tasks()
    try:
        output = tasks.spawn(_copy_output(raw, stream.output(), how), name="attach/output")
        if how.stdin:
            stdin = tasks.spawn(_copy_input(raw, stream, how), name="attach/stdin")
            await first_of(output=output, stdin=stdin)
            if not output.done():
                if stdin.result():
                    return "detached"
                if not (how.stdout or how.stderr):
                    return "ended"
        outcome = await output
        if outcome == "gone" and how.stdin and how.close_stdin:
            # The end of the connection is the end of stdin, after what was sent before it.
            await asyncio.wait({stdin}, timeout=LINGER_S)
        return outcome
    finally:
        await tasks.close()


async def _copy_output(
    raw: RawConnection, chunks: AsyncIterator[tuple[Stream, bytes]], how: Pumping
) -> Outcome:
    wanted = {"stdout": how.stdout, "stderr": how.stderr}
    try:
        async for stream, data in chunks:
            # What is not wanted is read all the same: an unread attachment holds up the monitor.
            if wanted[stream]:
                await raw.write(data if how.tty else frame(stream, data))
    except ConnectionError:
        return "gone"
    return "ended"


async def _copy_input(raw: RawConnection, stream: AttachStream, how: Pumping) -> bool:
    """True: the user typed the detach keys."""
    keys = DetachKeys(how.detach_keys) if how.detach_keys else None
    try:
        while data := await raw.input.read():
            detached = False
            if keys is not None:
                data, detached = keys.feed(data)
            if data:
                await stream.write(data)
            if detached:
                return True
        if how.close_stdin:
            await stream.close_stdin()
    except (BrokenPipeError, ConnectionError):
        # The process has closed its stdin (``head -1``): swallow the rest, so that the client is
        # not stuck in a write while it waits for the output.
        while await raw.input.read():
            pass
    return False


__all__ = ["Hijacked", "Outcome", "Pumping", "RawConnection", "pump", "take_over"]
