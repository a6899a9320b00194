"""Whether a service has become what was asked for: a judgement over what the API shows. Pure.

Feed it what was just seen, with the time, as often as wanted; it says how far things are, in
lines, and in the end how it went. Nothing here waits or draws.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Task = Mapping[str, Any]

MONITOR_S = 5.0
"""How long all must have run without failure, when the service does not say it."""
_STATES = (
    "new", "allocated", "pending", "assigned", "accepted", "preparing", "ready", "starting",
    "running", "complete", "shutdown", "failed", "rejected", "remove", "orphaned",
)  # fmt: skip
_RANK = {name: rank for rank, name in enumerate(_STATES)}
_WANTED = ("running", "ready", "complete", "")
_SHOWN = 20
"""More tasks than this are only counted."""


class ServiceProgress:
    """One service on its way. ``verdict`` is None until it is over: then (exit code, sentence)."""

    def __init__(self, ref: str, *, before: object = None, rolling_back: bool = False) -> None:
        """``before``: the UpdateStatus that was there before the change; it says nothing of it."""
        self.ref = ref
        self.done = 0
        self.total = 0
        self.lines: list[tuple[str, str]] = []
        """(``1/3``, ``running on host2``) for every task."""
        self.phase = ""
        """``verify: ...`` while it is being watched, or what a rollback says."""
        self.verdict: tuple[int, str] | None = None
        self.job = False
        self._before = before
        self._wanted_back = rolling_back
        self._came_back = ""
        self._whole_since: float | None = None
        self._ended_at: float | None = None
        self._over = False

    def look(
        self,
        service: Mapping[str, Any],
        tasks: Sequence[Task],
        nodes: Mapping[str, str],
        now: float,
    ) -> None:
        """Take in what is there. ``nodes``: id -> name of those that may run tasks.

        Args:
            tasks: those of the newest specification, dead ones too.
            now: seconds of a clock that does not jump.
        """
        spec = service["Spec"]
        mode = spec.get("Mode") or {}
        self.job = any(word.endswith("Job") for word in mode)
        if self.job:
            self._look_at_job(service, mode, tasks)
            return
        self._look_at_tasks(mode, tasks, nodes)
        if self._stopped(service.get("UpdateStatus")):
            return
        config = spec.get("RollbackConfig" if self._came_back else "UpdateConfig") or {}
        monitor_s = (config.get("Monitor") or 0) / 1e9 or MONITOR_S
        self._judge(now, monitor_s)
        self._give_up(now, monitor_s)

    # -- tasks that should run on

    def _look_at_tasks(
        self, mode: Mapping[str, Any], tasks: Sequence[Task], nodes: Mapping[str, str]
    ) -> None:
        replicated = mode.get("Replicated")
        live = [t for t in tasks if t.get("DesiredState", "") in _WANTED]
        best: dict[object, Task] = {}
        for task in live:
            key = task.get("NodeID", "") if replicated is None else task.get("Slot")
            if replicated is None and key not in nodes:
                continue  # a global service waits for no node that is away
            if key not in best or _index(task) > _index(best[key]):
                best[key] = task
        failures: dict[object, Task] = {}
        for task in sorted(tasks, key=_index):
            if _state(task) in ("failed", "rejected"):
                failures[task.get("NodeID") if replicated is None else task.get("Slot")] = task
        if replicated is None:
            keys: list[object] = sorted(best, key=str)
        else:
            count = 1 if replicated.get("Replicas") is None else int(replicated["Replicas"])
            # Slots need not count from 1 without gaps: after scaling down, they do not.
            keys = sorted(best, key=lambda slot: int(str(slot)))[:count]
            keys += [None] * (count - len(keys))
        self.total = len(keys)
        self.done = sum(_state(best[key]) == "running" for key in keys if key in best)
        self.lines = []
        for number, key in enumerate(keys, 1):
            label = f"{number}/{self.total}"
            self.lines.append((label, task_words(best.get(key), nodes, failures.get(key))))

    def _judge(self, now: float, monitor_s: float) -> None:
        whole = self.done == self.total
        if not whole:
            failed = self._whole_since is not None
            self._whole_since = None
            self.phase = "verify: Detected task failure" if failed else self._came_back
            return
        if self._whole_since is None:
            self._whole_since = now
        left = monitor_s - (now - self._whole_since)
        if left > 0:
            seconds = int(left) + (left > int(left))
            self.phase = f"verify: Waiting {seconds} seconds to verify that tasks are stable..."
        elif self._came_back and not self._wanted_back:
            self.verdict = (1, f"service rolled back: {self._came_back}")
        else:
            self.phase = ""
            self.verdict = (0, f"verify: Service {self.ref} converged")

    def _give_up(self, now: float, monitor_s: float) -> None:
        """A rollout that ended with tasks that fail again and again goes on for ever."""
        if self.done == self.total or not self._over:
            self._ended_at = None
        elif self._ended_at is None:
            self._ended_at = now
        elif now - self._ended_at >= max(monitor_s, MONITOR_S):
            self.verdict = (
                1,
                f"service update completed, but {self.done} of {self.total} tasks run: "
                f"{self.reason()}",
            )

    def _stopped(self, status: object) -> bool:
        """Read the rollout's own word; True when it is the last one."""
        self._over = False
        if not isinstance(status, dict) or status == self._before:
            return False
        state, message = str(status.get("State", "")), str(status.get("Message", ""))
        self._over = state == "completed"
        if state == "paused":
            self.verdict = (1, f"service update paused: {message}")
        elif state == "rollback_paused":
            self.verdict = (1, f"service rollback paused: {message}")
        elif state.startswith("rollback") and not self._wanted_back:
            self._came_back = message or "update failed"
        return self.verdict is not None

    # -- tasks that should end

    def _look_at_job(
        self, service: Mapping[str, Any], mode: Mapping[str, Any], tasks: Sequence[Task]
    ) -> None:
        status = service.get("JobStatus") or {}
        iteration = (status.get("JobIteration") or {}).get("Index", 0)
        mine = [t for t in tasks if (t.get("JobIteration") or {}).get("Index", 0) == iteration]
        finished = [t for t in mine if _state(t) == "complete"]
        waiting = [t for t in mine if _RANK.get(_state(t), 0) <= _RANK["running"]]
        job = mode.get("ReplicatedJob")
        if job is None:
            self.total = len({t.get("NodeID", "") for t in mine})
        else:
            self.total = int(job.get("TotalCompletions") or job.get("MaxConcurrent") or 1)
        self.done = len(finished)
        failures = [t for t in mine if _state(t) in ("failed", "rejected")]
        self.lines = [
            (f"{number}/{self.total}", task_words(task, {}, None))
            for number, task in enumerate(waiting, self.done + 1)
        ]
        self.phase = f"failed so far: {len(failures)} tasks" if failures else ""
        if self.total and self.done >= self.total:
            self.lines = []
            self.verdict = (0, "job complete")

    # -- words

    def summary(self) -> str:
        """``overall progress: 2 out of 3 tasks``."""
        if self.job:
            return f"job progress: {self.done} out of {self.total} complete"
        return f"overall progress: {self.done} out of {self.total} tasks"

    def shown(self) -> list[str]:
        """Everything there is to show now, a line each."""
        few = self.lines if len(self.lines) <= _SHOWN else self._stuck()
        found = [self.summary(), *(f"{label}: {words}" for label, words in few)]
        return [*found, self.phase] if self.phase else found

    def _stuck(self) -> list[tuple[str, str]]:
        """Of many tasks only those with something to say, and not all of these."""
        return [(label, words) for label, words in self.lines if " (" in words][:5]

    def reason(self) -> str:
        """Why the first task that does not run does not; empty when all do."""
        words = next((w for _, w in self.lines if not w.startswith("running")), "")
        return f"rolling back ({self._came_back}): {words}" if self._came_back else words


def task_words(task: Task | None, nodes: Mapping[str, str], failure: Task | None) -> str:
    """``running on host2``, ``no suitable node (...)``, ``starting (before: exit 1)``."""
    if task is None:
        return "waiting to be made" if failure is None else f"failed: {_trouble(failure)}"
    state = _state(task)
    if state == "running":
        name = nodes.get(task.get("NodeID", ""), "")
        return f"running on {name}" if name else "running"
    trouble = _trouble(task)
    if trouble:
        return trouble
    return f"{state} (before: {_trouble(failure)})" if failure is not None else state


def _trouble(task: Task) -> str:
    return " ".join(str((task.get("Status") or {}).get("Err") or "").split())


def _state(task: Task) -> str:
    return str((task.get("Status") or {}).get("State") or "new")


def _index(task: Task) -> tuple[str, int]:
    return str(task.get("CreatedAt", "")), int((task.get("Version") or {}).get("Index") or 0)
