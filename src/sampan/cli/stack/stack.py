"""``sampan stack``: deploy, rm, config."""

from __future__ import annotations

from sampan.cli.terminal.console import CliError, Console
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from sampan.compose.file.load import Loaded, LoadRequest
    from sampan.compose.stack.model import Stack

_RESOLVE = ("always", "changed", "never")
_PATIENCE_S = 30.0
_DEPRECATED = {
    "container_name": "Setting the container name is not supported.",
    "expose": (
        "Exposing ports is unnecessary - services on the same network can access each other's "
        "containers on any port."
    ),
}


def _deploy(console: Console, args: Args) -> int:
    name = stack_name(args.rest[0])
    resolve = args.text("resolve-image", "always")
    if resolve not in _RESOLVE:
        raise CliError(f"Invalid option {resolve} for flag --resolve-image")
    if not args.given("compose-file"):
        raise CliError("Please specify a Compose file (with --compose-file)")
    from sampan.compose.errors import UsageError
    from sampan.compose.stack.deploy import Deployment, observe, pins
    from sampan.compose.stack.plan import plan_deploy

    try:
        stack = _read(console, args, name)
    except UsageError as error:
        raise CliError(str(error)) from None
    auth = _auth(console)
    seen = observe(console.client, name, stack)
    wanted = _to_resolve(stack, seen.services, resolve)
    plan = plan_deploy(stack, seen, prune=args.on("prune"), pins=pins(console.client, wanted, auth))

    def warn(text: str) -> None:
        console.err(f"WARNING: {text}")

    for warning in plan.warnings:
        warn(warning)
    if args.on("dry-run"):
        console.out(str(plan))
        return 0
    send = auth if args.on("with-registry-auth") else _no_auth
    quiet = args.on("quiet")
    work = Deployment(console.client, lambda line: None if quiet else console.out(line), warn, send)
    work.run(plan)
    if not quiet and not any(step.verb != "keep" for step in plan.of("service")):
        console.out(f"Every service of {name} is as the file says")
    if args.on("detach", default=True) or not work.changed:
        return 0
    from sampan.cli.service.wait import wait_for_services

    hint = f"sampan stack ps {name}"
    return wait_for_services(console, work.changed, hint, quiet=quiet)


def _auth(console: Console) -> Callable[[str], str | None]:
    from sampan.client.auth import header_for

    return lambda image: header_for(image, console.environ)


def _no_auth(_image: str) -> str | None:
    return None


def _to_resolve(stack: Stack, known: object, resolve: str) -> list[str]:
    """Images whose digest a registry is to be asked for."""
    from sampan.compose.stack.model import IMAGE

    if resolve == "never":
        return []
    images = []
    for key, one in stack.services.items():
        image = one.image
        there = known.get(stack.scoped(key)) if isinstance(known, dict) else None
        labels = (there["Spec"].get("Labels") or {}) if there else {}
        if resolve == "always" or labels.get(IMAGE) != image:
            images.append(image)
    return images


def stack_name(text: str) -> str:
    """The name, if it is one. Raises CliError."""
    plain = text.strip("'\"")
    if not plain or not all(char.isalnum() or char in "-_" for char in plain):
        raise CliError(
            f'invalid stack name: "{text}": use letters, digits, - and _, and nothing else'
        )
    return plain


def _request(args: Args) -> LoadRequest:
    import os

    from sampan.compose.file.load import LoadRequest

    files = [part for item in args.many("compose-file") for part in item.split(",")]
    # The stack's own name counts; a project's is not asked for, and must not fail.
    return LoadRequest(files=tuple(files), project="stack", cwd=os.getcwd(), name_is_variable=False)


def _load(console: Console, args: Args, *, interpolated: bool = True) -> Loaded:
    from sampan.compose.file.load import load
    from sampan.compose.model.schema import cluster_top

    loaded = load(_request(args), console.environ, cluster_top(), interpolated=interpolated)
    for warning in loaded.warnings:
        console.err(warning)
    return loaded


def _read(console: Console, args: Args, name: str) -> Stack:
    from sampan.compose.stack.read import read_stack

    profiles = tuple(p for p in console.environ.get("COMPOSE_PROFILES", "").split(",") if p)
    stack = read_stack(name, _load(console, args), profiles)
    if stack.ignored:
        console.err(f"Ignoring unsupported options: {', '.join(stack.ignored)}\n")
    if stack.deprecated:
        lines = [f"{key}: {_DEPRECATED[key]}\n" for key in stack.deprecated]
        console.err("Ignoring deprecated options:\n\n" + "\n".join(lines))
    return stack


def _config(console: Console, args: Args) -> int:
    if not args.given("compose-file"):
        raise CliError("Please specify a Compose file (with --compose-file)")
    from sampan.compose.errors import UsageError
    from sampan.compose.file.yaml_tree import plain_data
    from sampan.compose.stack.read import read_stack

    skip = args.on("skip-interpolation")
    try:
        loaded = _load(console, args, interpolated=not skip)
        if not skip:
            read_stack("stack", loaded)  # what cannot be deployed is no final file
    except UsageError as error:
        raise CliError(str(error)) from None
    import yaml

    data = plain_data(loaded.tree)
    data.pop("name", None)
    console.write(yaml.safe_dump(data, sort_keys=True, allow_unicode=True))
    return 0


def _rm(console: Console, args: Args) -> int:
    import time

    from sampan.compose.stack.deploy import observe, remove_stack, tasks_left
    from sampan.compose.stack.plan import plan_remove

    failures: list[str] = []
    for text in args.rest:
        name = stack_name(text)
        plan = plan_remove(name, observe(console.client, name))
        if not plan.steps:
            console.err(f"Nothing found in stack: {name}")
            continue
        failures += remove_stack(console.client, plan, console.out, time.sleep, _PATIENCE_S)
        while not args.on("detach", default=True) and tasks_left(console.client, name):
            time.sleep(0.1)
    if failures:
        raise CliError("\n".join(failures))
    return 0


_FILES = Flag("compose-file", "c", LIST, 'Path to a Compose file, or "-" to read from stdin')

COMMANDS = {
    "stack deploy": Command(
        "stack deploy",
        "[OPTIONS] STACK",
        "Deploy a new stack or update an existing stack",
        _deploy,
        (
            _FILES,
            Flag("detach", "d", BOOL, "Exit at once instead of waiting for convergence (default)"),
            Flag("dry-run", "", BOOL, "Print what would be done, with reasons, and do nothing"),
            Flag("prune", "", BOOL, "Prune services that are no longer referenced"),
            Flag("quiet", "q", BOOL, "Suppress progress output"),
            Flag("resolve-image", "", TEXT, 'Ask for digests ("always", "changed", "never")'),
            Flag("with-registry-auth", "", BOOL, "Send registry authentication details to agents"),
        ),
        1,
        1,
    ),
    "stack config": Command(
        "stack config",
        "[OPTIONS]",
        "Outputs the final config file, after doing merges and interpolations",
        _config,
        (_FILES, Flag("skip-interpolation", "", BOOL, "Only merge, do not interpolate")),
    ),
    "stack rm": Command(
        "stack rm",
        "[OPTIONS] STACK [STACK...]",
        "Remove one or more stacks",
        _rm,
        (Flag("detach", "d", BOOL, "Do not wait for stack removal (default true)"),),
        1,
        None,
    ),
}  # fmt: skip
