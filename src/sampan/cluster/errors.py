"""Refusals, in the words and categories that clients of Docker's clusters know."""

from __future__ import annotations

from sampan.errors import Conflict, Forbidden, InvalidArgument, Unsupported


def _described(code: str, sentence: str) -> str:
    return f"rpc error: code = {code} desc = {sentence}"


class Refused(InvalidArgument):
    """The specification makes no sense as it is written."""

    def __init__(self, sentence: str) -> None:
        super().__init__(_described("InvalidArgument", sentence))


class Precondition(InvalidArgument):
    """It makes sense, but not in the state that the cluster is in."""

    def __init__(self, sentence: str) -> None:
        super().__init__(_described("FailedPrecondition", sentence))


class Exists(Conflict):
    def __init__(self, sentence: str) -> None:
        super().__init__(_described("AlreadyExists", sentence))


class NotDone(Unsupported):
    """Swarm does not do this, and neither does this."""

    def __init__(self, sentence: str) -> None:
        super().__init__(_described("Unimplemented", sentence))


class LocalNetwork(Forbidden):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"The network {name} cannot be used with services. Only networks scoped to the swarm "
            "can be used, such as those created with the overlay driver."
        )


class Ambiguous(InvalidArgument):
    def __init__(self, kind: str, ref: str, count: int) -> None:
        super().__init__(f"{kind} {ref} is ambiguous ({count} matches found)")
