"""What every command is given: the daemon's client, made on first use, and the three streams."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sampan.client import Client
    from sampan.client.address import Tls
    from sampan.flags import Args


class CliError(Exception):
    """A sentence for the user (empty: say nothing) and the exit code of the process."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class Console:
    """The surroundings of one command."""

    def __init__(
        self,
        host: str | None = None,
        tls: Tls | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.host = host
        self.tls = tls
        self.environ = os.environ if environ is None else environ
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The client; importing it is left to commands that need a daemon."""
        if self._client is None:
            from sampan.client import Client

            self._client = Client(self.host, tls=self.tls, environ=self.environ)
        return self._client

    def out(self, text: str = "") -> None:
        """A line of the answer."""
        sys.stdout.write(text + "\n")

    def write(self, text: str) -> None:
        """A part of the answer, at once."""
        sys.stdout.write(text)
        sys.stdout.flush()

    def err(self, text: str) -> None:
        """A line beside the answer."""
        sys.stdout.flush()
        sys.stderr.write(text + "\n")
        sys.stderr.flush()

    def each(
        self, refs: Sequence[str], action: Callable[[str], str | None], *, missing_ok: bool = False
    ) -> int:
        """Do ``action(ref)`` for every reference and go on after a refusal; the exit code.

        ``action`` answers what to print, or None for the reference itself. ``missing_ok``: what is
        gone already is as it was asked for.
        """
        from sampan.errors import NotFound, SampanError, Unavailable

        code = 0
        for ref in refs:
            try:
                answer = action(ref)
            except Unavailable:
                raise  # nobody answers: the next one will not fare better
            except SampanError as error:
                if missing_ok and isinstance(error, NotFound):
                    continue
                self.err(f"Error response from daemon: {error}")
                code = 1
                continue
            if answer != "":
                self.out(ref if answer is None else answer)
        return code

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; no answer is a no."""
        self.write(f"{question} [y/N] ")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def agrees(self, args: Args, what: str) -> bool:
        """Whether a prune may go on: by ``--force``, or by the user's word."""
        return args.on("force") or self.confirm(f"WARNING! {what}\nAre you sure?")

    def report_pruned(
        self, title: str, deleted: Sequence[str], reclaimed: int | None = None
    ) -> int:
        """Say what is gone and how much that gave back (None: nothing to speak of); exit code 0."""
        from sampan.units import human_size

        if deleted:
            self.out(f"{title}:\n" + "\n".join(deleted))
            if reclaimed is not None:
                self.out()
        if reclaimed is not None:
            self.out(f"Total reclaimed space: {human_size(reclaimed)}")
        return 0

    @property
    def width(self) -> int:
        """Columns of the terminal; 0 when stdout is not a terminal."""
        return columns(1)


def columns(fd: int) -> int:
    """Columns of the terminal at ``fd``; 0 when it is not a terminal."""
    try:
        return os.get_terminal_size(fd).columns
    except OSError:
        return 0


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, also to a descriptor that somebody made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            import select

            select.select([], [fd], [])


def parse_filters(items: Sequence[str]) -> dict[str, list[str]]:
    """``["label=a=b", "status=exited"]`` as the API wants it. Raises CliError."""
    filters: dict[str, list[str]] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals:
            raise CliError(f'bad format of filter (expected name=value): "{item}"')
        filters.setdefault(name.strip().lower(), []).append(value.strip())
    return filters
