"""``sampan build``."""

from __future__ import annotations

import sys

from sampan.cli.flag_values import labels
from sampan.cli.terminal.console import CliError, Console
from sampan.cli.terminal.progress import Counter, Display, counted
from sampan.cli.units import parse_size
from sampan.client import StreamFailed, auth
from sampan.client.build import build, image_id
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag
from sampan.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REMOTE = ("http://", "https://", "git://", "git@", "github.com/")


def _run(console: Console, args: Args) -> int:
    where = args.rest[0]
    quiet = args.on("quiet")
    remote = where if where.startswith(_REMOTE) else None
    context: Iterator[bytes] | None = None
    dockerfile = args.maybe("file")
    if remote is None:
        context, dockerfile = _local(where, dockerfile, quiet)
    shm = parse_size(args.text("shm-size")) if args.given("shm-size") else None
    messages = build(
        console.client,
        context,
        tags=args.many("tag"),
        dockerfile=dockerfile,
        build_args=build_args(args.many("build-arg"), console.environ),
        labels=labels((), args.many("label")),
        target=args.maybe("target"),
        no_cache=args.on("no-cache"),
        pull=args.on("pull"),
        network=args.maybe("network"),
        cache_from=args.many("cache-from"),
        extra_hosts=args.many("add-host"),
        platform=args.maybe("platform"),
        shm_size=shm,
        remote=remote,
        registry_config=auth.build_header(console.environ),
        extra=_limits(args),
    )
    built, output = "", []
    display = Display(1, quiet=quiet)
    try:
        for message in messages:
            built = image_id(message) or built
            if quiet:
                output.append(str(message.get("stream", "")))
            display.message(message)
    except StreamFailed as error:
        if quiet:
            console.err("".join(output).rstrip())
        raise CliError(str(error), error.code or 1) from error
    if quiet:
        console.out(built)
    if args.given("iidfile"):
        with open(args.text("iidfile"), "w", encoding="ascii") as file:
            file.write(built)
    return 0


def _local(where: str, dockerfile: str | None, quiet: bool) -> tuple[Iterator[bytes], str | None]:
    """(the context as a tar, the Dockerfile's name in it)."""
    from sampan.client.context import Context

    if where == "-":
        return _from_stdin(dockerfile)
    text = sys.stdin.buffer.read() if dockerfile == "-" else None
    context = Context(where, text if text is not None else dockerfile)
    counter = Counter("Sending build context", 1)
    total = 0

    def report(so_far: int) -> None:
        nonlocal total
        total = so_far
        if not quiet:
            counter(so_far)

    def pieces() -> Iterator[bytes]:
        yield from counted(context.chunks(), report)
        counter.end()
        if not quiet and not counter.live:
            sys.stdout.write(f"Sending build context  {human_size(total)}\n")

    return pieces(), context.dockerfile


def _from_stdin(dockerfile: str | None) -> tuple[Iterator[bytes], str | None]:
    """``-``: a tar (plain or compressed) is the context, anything else is a Dockerfile."""
    from sampan.cli.image.transfer import pieces
    from sampan.client.context import DOCKERFILE, one_file

    # A reader of our own: sys.stdin.buffer does not promise to let anybody peek.
    stdin = open(0, "rb", closefd=False)  # noqa: SIM115 - the generator below outlives this call
    head = stdin.peek(512)[:512]
    packed = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
    if head[257:262] == b"ustar" or head.startswith(packed):
        return pieces(stdin), dockerfile
    return iter([one_file(DOCKERFILE, stdin.read())]), DOCKERFILE


def build_args(items: list[str], environ: Mapping[str, str]) -> dict[str, str | None]:
    """``NAME=VALUE``, or a bare NAME, which takes the caller's value."""
    found: dict[str, str | None] = {}
    for item in items:
        name, equals, value = item.partition("=")
        found[name] = value if equals else environ.get(name)
    return found


def _limits(args: Args) -> dict[str, object]:
    extra: dict[str, object] = {}
    if args.given("memory"):
        extra["memory"] = parse_size(args.text("memory"))
    for name, key in (("cpu-shares", "cpushares"), ("cpuset-cpus", "cpusetcpus")):
        if args.given(name):
            extra[key] = args.text(name)
    if args.on("squash"):
        extra["squash"] = True
    if args.given("ulimit"):
        from json import dumps

        from sampan.cli.flag_values import ulimit

        extra["ulimits"] = dumps([ulimit(item) for item in args.many("ulimit")])
    unknown = [name for name in ("secret", "ssh", "output") if args.given(name)]
    if unknown:
        raise CliError(f"--{unknown[0]} is not supported by this builder")
    return extra


COMMANDS = {
    "build": Command(
        "build",
        "[OPTIONS] PATH | URL | -",
        "Build an image from a Dockerfile",
        _run,
        (
            Flag("add-host", "", LIST, "Add a custom host-to-IP mapping (host:ip)"),
            Flag("build-arg", "", LIST, "Set build-time variables"),
            Flag("cache-from", "", LIST, "Images to consider as cache sources"),
            Flag("cpu-shares", "c", TEXT, "CPU shares (relative weight)"),
            Flag("cpuset-cpus", "", TEXT, "CPUs in which to allow execution (0-3, 0,1)"),
            Flag("file", "f", TEXT, "Name of the Dockerfile (default PATH/Dockerfile)"),
            Flag("force-rm", "", BOOL, "Always remove intermediate containers (always so)"),
            Flag("iidfile", "", TEXT, "Write the image ID to the file"),
            Flag("label", "", LIST, "Set metadata for an image"),
            Flag("memory", "m", TEXT, "Memory limit"),
            Flag("network", "", TEXT, "Networking mode of the RUN instructions"),
            Flag("no-cache", "", BOOL, "Do not use cache when building the image"),
            Flag("output", "o", LIST, "Output destination (not supported)"),
            Flag("platform", "", TEXT, "Set platform if server is multi-platform capable"),
            Flag("progress", "", TEXT, "Accepted for docker's sake: lines are always plain"),
            Flag("pull", "", BOOL, "Always attempt to pull a newer version of the image"),
            Flag("quiet", "q", BOOL, "Suppress the build output and print image ID on success"),
            Flag("rm", "", BOOL, "Remove intermediate containers after a build (always so)"),
            Flag("secret", "", LIST, "Secret to expose to the build (not supported)"),
            Flag("shm-size", "", TEXT, "Size of /dev/shm"),
            Flag("squash", "", BOOL, "Squash newly built layers into a single new layer"),
            Flag("ssh", "", LIST, "SSH agent to expose to the build (not supported)"),
            Flag("tag", "t", LIST, "Name and optionally a tag (format: name:tag)"),
            Flag("target", "", TEXT, "Set the target build stage to build"),
            Flag("ulimit", "", LIST, "Ulimit options"),
        ),
        1,
        1,
    )
}
