"""A plan is data: steps with a reason each and what they wait for. Executing decides nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from sampan.compose.model.project import Network, Volume
from sampan.compose.model.service import Service
from sampan.compose.plan.observed import ObservedContainer


@dataclass(frozen=True, slots=True)
class PullImage:
    reference: str
    platform: str = ""


@dataclass(frozen=True, slots=True)
class BuildImage:
    service: Service
    reference: str
    no_cache: bool = False
    pull: bool = False
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateNetwork:
    network: Network


@dataclass(frozen=True, slots=True)
class RemoveNetwork:
    name: str


@dataclass(frozen=True, slots=True)
class CreateVolume:
    volume: Volume


@dataclass(frozen=True, slots=True)
class RemoveVolume:
    name: str


@dataclass(frozen=True, slots=True)
class RemoveImage:
    reference: str


@dataclass(frozen=True, slots=True)
class CreateContainer:
    service: Service
    number: int
    name: str
    image_id: str = ""
    """Empty when a step of the same plan brings the image: it is asked for then."""
    replaces: ObservedContainer | None = None
    keep_volumes: bool = True
    timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class StartContainer:
    """``name`` is looked up among what this plan created before ``id`` is used."""

    name: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class StopContainer:
    container: ObservedContainer
    timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    container: ObservedContainer
    volumes: bool = False
    force: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """``kill``, ``pause``, ``unpause`` or ``restart``."""

    container: ObservedContainer
    verb: str
    signal: str = ""
    timeout_s: int | None = None


@dataclass(frozen=True, slots=True)
class Await:
    """Wait until every container in ``names`` meets ``condition`` of ``depends_on``."""

    service: str
    names: tuple[str, ...]
    condition: str
    ids: dict[str, str] = field(default_factory=dict)
    """Containers that this plan did not create."""


Action: TypeAlias = (
    PullImage
    | BuildImage
    | CreateNetwork
    | RemoveNetwork
    | CreateVolume
    | RemoveVolume
    | RemoveImage
    | CreateContainer
    | StartContainer
    | StopContainer
    | RemoveContainer
    | Signal
    | Await
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. ``after``: numbers of steps that must have succeeded."""

    n: int
    verb: str
    target: str
    why: str
    action: Action
    after: tuple[int, ...] = ()

    def __str__(self) -> str:
        waits = f" <- {', '.join(map(str, self.after))}" if self.after else ""
        return f"{self.n:>3}  {self.verb:<8} {self.target}: {self.why}{waits}"


@dataclass(slots=True)
class Plan:
    """Steps in an order in which each comes behind what it waits for."""

    steps: list[Step] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    """Containers that are as they should be."""

    def add(self, verb: str, target: str, why: str, action: Action, *after: int | None) -> int:
        """Append a step; returns its number. ``after`` may hold None, for a step that is not."""
        n = len(self.steps) + 1
        waits = tuple(sorted({number for number in after if number is not None}))
        self.steps.append(Step(n, verb, target, why, action, waits))
        return n

    def __str__(self) -> str:
        lines = [str(step) for step in self.steps]
        return "\n".join(lines) if lines else "nothing to do"
