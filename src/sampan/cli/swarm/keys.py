"""``sampan swarm``: join-token, ca, unlock-key, unlock."""

from __future__ import annotations

from sampan.cli.terminal.console import CliError, Console
from sampan.client import cluster
from sampan.flags import BOOL, LIST, TEXT, Args, Command, Flag


def join_command(console: Console, role: str) -> None:
    """Print how another host joins as ``role``."""
    from sampan.client.events import info

    swarm = info(console.client).get("Swarm") or {}
    node = cluster.node(console.client, str(swarm.get("NodeID") or "self"))
    address = (node.get("ManagerStatus") or {}).get("Addr", "")
    token = cluster.inspect(console.client)["JoinTokens"][role.title()]
    console.out(
        f"To add a {role} to this swarm, run the following command:\n\n"
        f"    sampan swarm join --token {token} {address}\n"
    )


def _join_token(console: Console, args: Args) -> int:
    role = args.rest[0]
    if role not in ("worker", "manager"):
        raise CliError("unknown role " + role)
    quiet = args.on("quiet")
    if args.on("rotate"):
        found = cluster.inspect(console.client)
        cluster.update(
            console.client,
            found["Version"]["Index"],
            found["Spec"],
            rotate_worker=role == "worker",
            rotate_manager=role == "manager",
        )
        if not quiet:
            console.out(f"Successfully rotated {role} join token.\n")
    if quiet:
        console.out(cluster.inspect(console.client)["JoinTokens"][role.title()])
    else:
        join_command(console, role)
    return 0


def show_unlock_key(console: Console) -> None:
    """Print the key that a locked manager asks for, and that it is to be kept."""
    key = cluster.unlock_key(console.client)
    if not key:
        raise CliError("no unlock key is set")
    console.out(
        "To unlock a swarm manager after it restarts, run the `sampan swarm unlock`\n"
        f"command and provide the following key:\n\n    {key}\n\n"
        "Keep this key in a password manager: without it the manager cannot be started again."
    )


def _unlock_key(console: Console, args: Args) -> int:
    quiet = args.on("quiet")
    if args.on("rotate"):
        found = cluster.inspect(console.client)
        if not (found["Spec"].get("EncryptionConfig") or {}).get("AutoLockManagers"):
            raise CliError("cannot rotate because autolock is not turned on")
        index = found["Version"]["Index"]
        cluster.update(console.client, index, found["Spec"], rotate_unlock=True)
        if not quiet:
            console.out("Successfully rotated manager unlock key.\n")
    if quiet:
        key = cluster.unlock_key(console.client)
        if not key:
            raise CliError("no unlock key is set")
        console.out(key)
    else:
        show_unlock_key(console)
    return 0


def _unlock(console: Console, args: Args) -> int:
    import sys

    from sampan.client.events import info

    state = (info(console.client).get("Swarm") or {}).get("LocalNodeState", "")
    if state == "inactive":
        raise CliError("Error: This node is not part of a swarm")
    if state != "locked":
        raise CliError("Error: swarm is not locked")
    if sys.stdin.isatty():
        from getpass import getpass

        key = getpass("Enter unlock key: ")
    else:
        key = sys.stdin.readline()
    cluster.unlock(console.client, key.strip())
    return 0


def _ca(console: Console, args: Args) -> int:
    from sampan.cli.swarm.spec import change_spec, read_pem

    if not args.on("rotate"):
        for name in ("ca-cert", "ca-key", "cert-expiry", "external-ca"):
            if args.given(name):
                raise CliError(f"`--{name}` flag requires the `--rotate` flag to update the CA")
        found = cluster.inspect(console.client)
        root = str((found.get("TLSInfo") or {}).get("TrustRoot") or "")
        if not root:
            raise CliError("No CA information available")
        console.out(root.rstrip("\n"))
        return 0
    found = cluster.inspect(console.client)
    spec = found["Spec"]
    change_spec(spec, args)
    part = spec["CAConfig"] = dict(spec.get("CAConfig") or {})
    if args.given("ca-cert"):
        part["SigningCACert"] = read_pem(args.text("ca-cert"))
        if not (args.given("ca-key") or args.given("external-ca")):
            raise CliError("--ca-cert needs --ca-key, or --external-ca that signs with it")
    if args.given("ca-key"):
        if not args.given("ca-cert"):
            raise CliError(
                "the --ca-key flag requires that a --ca-cert flag and/or --external-ca flag "
                "be provided as well"
            )
        part["SigningCAKey"] = read_pem(args.text("ca-key"))
    part["ForceRotate"] = int(part.get("ForceRotate") or 0) + 1
    cluster.update(console.client, found["Version"]["Index"], spec)
    return 0 if args.on("detach") else _wait_for_rotation(console, quiet=args.on("quiet"))


def _wait_for_rotation(console: Console, *, quiet: bool) -> int:
    """Until every node has a certificate of the new root; then print the root."""
    import time

    from sampan.cli.service.wait import Screen

    screen = Screen(quiet=quiet)
    try:
        while True:
            found = cluster.inspect(console.client)
            trusted = found.get("TLSInfo") or {}
            infos = [
                (node.get("Description") or {}).get("TLSInfo") or {}
                for node in cluster.nodes(console.client)
            ]
            new = sum(
                info.get("CertIssuerPublicKey") == trusted.get("CertIssuerPublicKey")
                for info in infos
            )
            root = sum(info.get("TrustRoot") == trusted.get("TrustRoot") for info in infos)
            screen.draw(
                [
                    f"desired root: {str(trusted.get('CertIssuerPublicKey', ''))[:24]}",
                    f"  rotated TLS certificates: {new}/{len(infos)} nodes",
                    f"  rotated CA certificates: {root}/{len(infos)} nodes",
                ]
            )
            if not found.get("RootRotationInProgress"):
                console.out(str(trusted.get("TrustRoot") or "").rstrip("\n"))
                return 0
            time.sleep(0.2)
    except KeyboardInterrupt:
        screen.keep("\nOperation continuing in background.")
        return 0


_QUIET = Flag("quiet", "q", BOOL, "Only display token")

COMMANDS = {
    "swarm join-token": Command(
        "swarm join-token",
        "[OPTIONS] (worker|manager)",
        "Manage join tokens",
        _join_token,
        (_QUIET, Flag("rotate", "", BOOL, "Rotate join token")),
        1,
        1,
    ),
    "swarm ca": Command(
        "swarm ca",
        "[OPTIONS]",
        "Display and rotate the root CA",
        _ca,
        (
            Flag("ca-cert", "", TEXT, "Path to the PEM root CA certificate of the new root"),
            Flag("ca-key", "", TEXT, "Path to the PEM root CA key of the new root"),
            Flag("cert-expiry", "", "duration", "Validity of node certificates"),
            Flag("detach", "d", BOOL, "Exit immediately instead of waiting for the rotation"),
            Flag("external-ca", "", LIST, "Specifications of certificate signing endpoints"),
            Flag("quiet", "q", BOOL, "Suppress progress output"),
            Flag("rotate", "", BOOL, "Rotate the CA; without a certificate one is generated"),
        ),
    ),
    "swarm unlock-key": Command(
        "swarm unlock-key",
        "[OPTIONS]",
        "Manage the unlock key",
        _unlock_key,
        (_QUIET, Flag("rotate", "", BOOL, "Rotate unlock key")),
    ),
    "swarm unlock": Command("swarm unlock", "", "Unlock swarm", _unlock),
}
