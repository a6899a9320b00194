"""``sampan service``: create, update, scale, rollback, rm."""

from __future__ import annotations

from sampan.cli.service.flags import CREATE_FLAGS, UPDATE_FLAGS
from sampan.cli.terminal.console import CliError, Console
from sampan.client import services
from sampan.flags import BOOL, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def _create(console: Console, args: Args) -> int:
    from sampan.cli.service.lookup import Lookup, tagged
    from sampan.cli.service.spec import create_spec

    lookup = Lookup(console.client, console.environ)
    spec = create_spec(args, console.environ, lookup)
    task = spec["TaskTemplate"]
    warnings = []
    if args.on("no-resolve-image"):
        task["ContainerSpec"]["Image"] = tagged(task["ContainerSpec"]["Image"])
    else:
        warnings.append(lookup.pin(task))
    auth = None
    if args.on("with-registry-auth"):
        auth = lookup.auth(task["ContainerSpec"]["Image"])
    made = services.create(console.client, spec, auth=auth)
    _warn(console, [*warnings, *(made.get("Warnings") or ())])
    console.out(made["ID"])
    if args.on("detach"):
        return 0
    from sampan.cli.service.wait import wait_for_service

    return wait_for_service(console, made["ID"], quiet=args.on("quiet"))


def _warn(console: Console, warnings: Iterable[str]) -> None:
    for warning in warnings:
        if warning:
            console.err(warning)


def _update(console: Console, args: Args) -> int:
    if args.on("rollback"):
        others = [flag.name for flag in UPDATE_FLAGS if args.given(flag.name)]
        wrong = [name for name in others if name not in ("rollback", "detach", "quiet")]
        if wrong:
            raise CliError("other flags may not be combined with --rollback")
        return _rollback(console, args)
    from sampan.cli.service.lookup import Lookup, tagged
    from sampan.cli.service.update import updated_spec

    found = services.inspect(console.client, args.rest[0])
    lookup = Lookup(console.client, console.environ)
    spec = updated_spec(found["Spec"], args, console.environ, lookup)
    task = spec["TaskTemplate"]
    warnings = []
    if args.given("image"):
        part = task["ContainerSpec"]
        if args.on("no-resolve-image"):
            part["Image"] = tagged(part["Image"])
        else:
            warnings.append(lookup.pin(task))
    auth = None
    if args.on("with-registry-auth"):
        auth = lookup.auth(task["ContainerSpec"]["Image"])
    return _send(console, args, found, spec, warnings=warnings, auth=auth, auth_from="spec")


def _rollback(console: Console, args: Args) -> int:
    found = services.inspect(console.client, args.rest[0])
    return _send(console, args, found, found["Spec"], rollback=True)


def _send(
    console: Console,
    args: Args,
    found: dict[str, Any],
    spec: dict[str, Any],
    *,
    warnings: Iterable[str] = (),
    auth: str | None = None,
    auth_from: str | None = None,
    rollback: bool = False,
) -> int:
    """Send a change, print the service's name, and watch it unless ``--detach``."""
    done = services.update(
        console.client,
        found["ID"],
        found["Version"]["Index"],
        spec,
        auth=auth,
        auth_from=None if auth else auth_from,
        rollback=rollback,
    )
    _warn(console, [*warnings, *(done.get("Warnings") or ())])
    console.out(args.rest[0])
    if args.on("detach"):
        return 0
    from sampan.cli.service.wait import wait_for_service

    return wait_for_service(
        console,
        found["ID"],
        quiet=args.on("quiet"),
        before=found.get("UpdateStatus"),
        rolling_back=rollback,
    )


def _scale(console: Console, args: Args) -> int:
    from sampan.cli.service.update import scaled
    from sampan.errors import SampanError, Unavailable

    wanted = []
    for item in args.rest:
        name, equals, count = item.partition("=")
        if not equals:
            raise CliError(
                f"invalid scale specifier '{item}', expected form is '<service>=<value>'"
            )
        if not count.isdecimal():
            raise CliError(f"invalid replicas value {count}: write a whole number, 0 or more")
        wanted.append((name, int(count)))
    changed: list[tuple[str, object]] = []
    code = 0
    for name, number in wanted:
        try:
            found = services.inspect(console.client, name)
            spec = found["Spec"]
            scaled(spec.setdefault("Mode", {}), number)
            index = found["Version"]["Index"]
            done = services.update(console.client, found["ID"], index, spec)
        except Unavailable:
            raise
        except ValueError:
            console.err(f"{name}: scale can only be used with replicated or replicated-job mode")
            code = 1
            continue
        except SampanError as error:
            console.err(f"{name}: Error response from daemon: {error}")
            code = 1
            continue
        _warn(console, done.get("Warnings") or ())
        console.out(f"{name} scaled to {number}")
        changed.append((found["ID"], found.get("UpdateStatus")))
    if args.on("detach"):
        return code
    from sampan.cli.service.wait import wait_for_service

    for identifier, before in changed:
        code = wait_for_service(console, str(identifier), before=before) or code
    return code


def _rm(console: Console, args: Args) -> int:
    return console.each(args.rest, lambda ref: services.remove(console.client, ref))


_DETACH = Flag("detach", "d", BOOL, "Exit immediately instead of waiting for convergence")
_QUIET = Flag("quiet", "q", BOOL, "Suppress progress output")

COMMANDS = {
    "service create": Command(
        "service create",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create a new service",
        _create,
        CREATE_FLAGS,
        1,
        None,
        mixed=False,
    ),
    "service update": Command(
        "service update", "[OPTIONS] SERVICE", "Update a service", _update, UPDATE_FLAGS, 1, 1
    ),
    "service scale": Command(
        "service scale",
        "SERVICE=REPLICAS [SERVICE=REPLICAS...]",
        "Scale one or multiple replicated services",
        _scale,
        (_DETACH,),
        1,
        None,
    ),
    "service rollback": Command(
        "service rollback",
        "[OPTIONS] SERVICE",
        "Revert changes to a service's configuration",
        _rollback,
        (_DETACH, _QUIET),
        1,
        1,
    ),
    "service rm": Command(
        "service rm", "SERVICE [SERVICE...]", "Remove one or more services", _rm, (), 1, None
    ),
}
