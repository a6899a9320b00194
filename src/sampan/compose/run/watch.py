"""Waiting for health and completion: on the engine's events, never by asking again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from sampan.client import Client, containers, events
from sampan.compose.model.create_request import PREFIX
from sampan.compose.model.values import COMPLETED
from sampan.compose.plan.steps import Await
from sampan.errors import Conflict, SampanError, Unavailable

_SLACK_S = 10.0


class NotReady(Conflict):
    """A dependency did not come up as its dependents need it."""


class Watch:
    """One event stream for all waits of a plan."""

    def __init__(self, client: Client, project: str) -> None:
        """Listening has begun when this returns. Raises as the client does."""
        self._client = client
        filters = {"type": ["container"], "label": [f"{PREFIX}project={project}"]}
        self._feed = events.follow(client, filters=filters)
        self._changed = threading.Condition()
        self._count: dict[str, int] = {}
        self._broken = ""
        self._closed = False
        threading.Thread(target=self._listen, name="events", daemon=True).start()

    def close(self) -> None:
        self._closed = True
        self._feed.close()

    def _listen(self) -> None:
        try:
            for event in self._feed.iter_json():
                action = str(event.get("Action", ""))
                actor: Any = event.get("Actor") or {}
                if action == "die" or action.startswith("health_status"):
                    with self._changed:
                        container = str(actor.get("ID", ""))
                        self._count[container] = self._count.get(container, 0) + 1
                        self._changed.notify_all()
            self._broken = "the engine ended its event stream"
        except (SampanError, OSError, ValueError) as error:
            self._broken = str(error)
        with self._changed:
            self._changed.notify_all()

    def wait(self, action: Await, made: Mapping[str, str]) -> str:
        """Block until the condition holds for all of the service's containers.

        Raises:
            NotReady: it cannot hold any more, or its time is over.
            Unavailable: the event stream broke.
        """
        for name in action.names:
            container = action.ids.get(name) or made[name]
            if action.condition == COMPLETED:
                self._completed(action.service, container)
            else:
                self._healthy(action.service, container)
        return "completed" if action.condition == COMPLETED else "healthy"

    def _completed(self, service: str, container: str) -> None:
        code, message = containers.exit_code(containers.wait(self._client, container))
        if code:
            raise NotReady(
                f'service "{service}" did not complete successfully: exit code {code}'
                + (f": {message}" if message else "")
            )

    def _healthy(self, service: str, container: str) -> None:
        deadline: float | None = None
        while True:
            with self._changed:
                before = self._count.get(container, 0)
            details = containers.inspect(self._client, container)
            state = details["State"]
            health = state.get("Health") or {}
            if state.get("Status") in ("exited", "dead"):
                raise NotReady(
                    f'service "{service}" ended with exit code {state.get("ExitCode")} '
                    "before it was healthy: see its logs"
                )
            status = health.get("Status") or "none"
            if status == "healthy":
                return
            if status == "none":
                raise NotReady(
                    f'service "{service}" has no health check, so it cannot become healthy: '
                    "give it one, or depend on service_started"
                )
            if status == "unhealthy":
                raise NotReady(f'service "{service}" is unhealthy: {_last_output(health)}')
            if deadline is None:
                deadline = time.monotonic() + patience_s(details["Config"].get("Healthcheck") or {})
            self._until_news(container, before, deadline)
            if time.monotonic() >= deadline:
                raise NotReady(
                    f'service "{service}" did not become healthy in time: {_last_output(health)}'
                )

    def _until_news(self, container: str, before: int, deadline: float) -> None:
        with self._changed:
            self._changed.wait_for(
                lambda: self._count.get(container, 0) != before or bool(self._broken),
                max(0.0, deadline - time.monotonic()),
            )
            if self._broken and self._count.get(container, 0) == before:
                raise Unavailable(f"cannot wait for health: {self._broken}")


def patience_s(check: Mapping[str, Any]) -> float:
    """How long a container may be ``starting``: its grace, then every probe as slow as allowed."""
    interval = (check.get("Interval") or 30 * 10**9) / 10**9
    timeout = (check.get("Timeout") or 30 * 10**9) / 10**9
    retries = check.get("Retries") or 3
    start = (check.get("StartPeriod") or 0) / 10**9
    return float(start + (retries + 1) * (interval + timeout) + _SLACK_S)


def _last_output(health: Mapping[str, Any]) -> str:
    log = health.get("Log") or []
    if not log:
        return "no probe has ended yet"
    text = str(log[-1].get("Output", "")).strip() or f"exit code {log[-1].get('ExitCode')}"
    return f"last output: {text}"
