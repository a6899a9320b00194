"""Flags that ``service create`` and ``service update`` read alike: each group fills its own part.

Pure. Every function changes the part of the specification that it is given, only where a flag of
its group was on the line, and raises ValueError with a sentence.
"""

from __future__ import annotations

from sampan.cli.service import values as values
from sampan.cli.service.values import duration, given, unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.flags import Args

    Part = dict[str, Any]

_HEALTH = ("cmd", "interval", "timeout", "retries", "start-period", "start-interval")
_HEALTH_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
_ROLLOUT = ("parallelism", "delay", "monitor", "failure-action", "max-failure-ratio", "order")
_TEXTS = {"hostname": "Hostname", "user": "User", "workdir": "Dir", "stop-signal": "StopSignal",
          "isolation": "Isolation"}  # fmt: skip


def _any(args: Args, *names: str) -> bool:
    return any(args.given(name) for name in names)


def container(part: Part, args: Args) -> None:
    """What is one value each: hostname, user, directory, signals ..."""
    for name, key in _TEXTS.items():
        if args.given(name):
            _put(part, key, args.text(name))
    for name, key in (("tty", "TTY"), ("read-only", "ReadOnly")):
        if args.given(name):
            _put(part, key, args.on(name))
    if args.given("stop-grace-period"):
        part["StopGracePeriod"] = given(args, "stop-grace-period", duration, 0)
    if args.given("oom-score-adj"):
        _put(part, "OomScoreAdj", given(args, "oom-score-adj", _score, 0))
    if args.given("entrypoint"):
        _put(part, "Command", given(args, "entrypoint", values.words, []))
    if args.given("credential-spec"):
        found = given(args, "credential-spec", values.credential, {})
        privileges = {**(part.get("Privileges") or {}), "CredentialSpec": found or None}
        part["Privileges"] = {"SELinuxContext": None, **privileges}


def _score(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("write a whole number") from None


def _put(part: Part, key: str, value: object) -> None:
    """An empty value is not written: that is how the API says nothing."""
    if value:
        part[key] = value
    else:
        part.pop(key, None)


def health(part: Part, args: Args) -> None:
    """``--health-...`` into the container's ``Healthcheck``."""
    said = _any(args, *(f"health-{name}" for name in _HEALTH))
    if args.on("no-healthcheck"):
        if said:
            raise ValueError("--no-healthcheck conflicts with --health-* options")
        part["Healthcheck"] = {"Test": ["NONE"]}
        return
    if not said:
        return
    check = dict(part.get("Healthcheck") or {})
    if (check.get("Test") or [""])[0] == "NONE":
        check.pop("Test")
    if args.given("health-cmd"):
        command = args.text("health-cmd")
        _put(check, "Test", ["CMD-SHELL", command] if command else [])
    for name, key in _HEALTH_TIMES.items():
        if args.given(f"health-{name}"):
            _put(check, key, given(args, f"health-{name}", duration, 0))
    if args.given("health-retries"):
        _put(check, "Retries", args.number("health-retries"))
    part["Healthcheck"] = check


def resources(task: Part, args: Args) -> None:
    """``--limit-...`` and ``--reserve-...`` into the task's ``Resources``."""
    for word, key, names in (
        ("limit", "Limits", ("cpu", "memory", "pids")),
        ("reserve", "Reservations", ("cpu", "memory")),
    ):
        if not _any(args, *(f"{word}-{name}" for name in names)):
            continue
        part = task.setdefault("Resources", {}).setdefault(key, {})
        if args.given(f"{word}-cpu"):
            _put(part, "NanoCPUs", given(args, f"{word}-cpu", values.cpus, 0))
        if args.given(f"{word}-memory"):
            _put(part, "MemoryBytes", given(args, f"{word}-memory", values.memory, 0))
        if args.given("limit-pids") and word == "limit":
            _put(part, "Pids", args.number("limit-pids"))


def restart(task: Part, args: Args) -> None:
    """``--restart-...`` into the task's ``RestartPolicy``."""
    if not _any(args, *(f"restart-{n}" for n in ("condition", "delay", "max-attempts", "window"))):
        return
    fresh = {"Condition": "any", "Delay": 5_000_000_000, "MaxAttempts": 0}
    part = task["RestartPolicy"] = dict(task.get("RestartPolicy") or fresh)
    if args.given("restart-condition"):
        part["Condition"] = args.text("restart-condition")
    if args.given("restart-delay"):
        part["Delay"] = given(args, "restart-delay", duration, 0)
    if args.given("restart-max-attempts"):
        part["MaxAttempts"] = given(args, "restart-max-attempts", unsigned, 0)
    if args.given("restart-window"):
        part["Window"] = given(args, "restart-window", duration, 0)


def rollouts(spec: Part, args: Args) -> None:
    """``--update-...`` and ``--rollback-...`` into ``UpdateConfig`` and ``RollbackConfig``."""
    for word, key in (("update", "UpdateConfig"), ("rollback", "RollbackConfig")):
        if not _any(args, *(f"{word}-{name}" for name in _ROLLOUT)):
            continue
        fresh = {
            "Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000,
            "MaxFailureRatio": 0, "Order": "stop-first",
        }  # fmt: skip
        part = spec[key] = dict(spec.get(key) or fresh)
        if args.given(f"{word}-parallelism"):
            part["Parallelism"] = given(args, f"{word}-parallelism", unsigned, 1)
        if args.given(f"{word}-delay"):
            _put(part, "Delay", given(args, f"{word}-delay", duration, 0))
        if args.given(f"{word}-monitor"):
            _put(part, "Monitor", given(args, f"{word}-monitor", duration, 0))
        if args.given(f"{word}-failure-action"):
            part["FailureAction"] = args.text(f"{word}-failure-action")
        if args.given(f"{word}-max-failure-ratio"):
            part["MaxFailureRatio"] = given(args, f"{word}-max-failure-ratio", values.ratio, 0)
        if args.given(f"{word}-order"):
            order = args.text(f"{word}-order").lower()
            if order not in ("start-first", "stop-first"):
                raise ValueError(
                    f'invalid argument "{order}" for "--{word}-order" flag: '
                    "must be start-first or stop-first"
                )
            part["Order"] = order


def log_driver(task: Part, args: Args) -> None:
    """``--log-driver`` with its ``--log-opt``."""
    if not args.given("log-driver"):
        if args.given("log-opt"):
            raise ValueError("--log-opt is of a log driver: name it with --log-driver, too")
        return
    driver: Part = {"Name": args.text("log-driver")}
    if args.given("log-opt"):
        driver["Options"] = values.labels(args.many("log-opt"))
    _put(task, "LogDriver", driver if driver["Name"] else None)
