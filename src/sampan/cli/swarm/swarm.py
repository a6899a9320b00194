"""``sampan swarm``: init, join, leave, update."""

from __future__ import annotations

from sampan.cli.service.values import given, unsigned
from sampan.cli.swarm.spec import change_spec
from sampan.cli.terminal.console import CliError, Console
from sampan.client import cluster
from sampan.flags import BOOL, INT, LIST, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LISTEN = "0.0.0.0:2377"


def _init(console: Console, args: Args) -> int:
    spec: dict[str, Any] = {"EncryptionConfig": {"AutoLockManagers": args.on("autolock")}}
    change_spec(spec, args)
    body = {
        **_addresses(args),
        "DataPathPort": given(args, "data-path-port", unsigned, 0),
        "ForceNewCluster": args.on("force-new-cluster"),
        "Spec": spec,
        "AutoLockManagers": args.on("autolock"),
        "DefaultAddrPool": args.many("default-addr-pool"),
        "SubnetSize": given(args, "default-addr-pool-mask-length", unsigned, 24),
    }
    node = cluster.init(console.client, body)
    console.out(f"Swarm initialized: current node ({node}) is now a manager.\n")
    from sampan.cli.swarm.keys import join_command, show_unlock_key

    join_command(console, "worker")
    console.out(
        "To add a manager to this swarm, run 'sampan swarm join-token manager' "
        "and follow the instructions."
    )
    if args.on("autolock"):
        show_unlock_key(console)
    return 0


def _addresses(args: Args) -> dict[str, Any]:
    return {
        "ListenAddr": args.text("listen-addr", LISTEN),
        "AdvertiseAddr": args.text("advertise-addr"),
        "DataPathAddr": args.text("data-path-addr"),
        "Availability": _availability(args),
    }


def _availability(args: Args) -> str:
    word = args.text("availability").lower()
    if word not in ("", "active", "pause", "drain"):
        raise CliError(f'invalid availability "{word}", only active, pause and drain are supported')
    return word


def _join(console: Console, args: Args) -> int:
    from sampan.client.events import info

    body = {
        **_addresses(args),
        "RemoteAddrs": [args.rest[0]],
        "JoinToken": args.text("token"),
    }
    cluster.join(console.client, body)
    swarm = info(console.client).get("Swarm") or {}
    role = "manager" if swarm.get("ControlAvailable") else "worker"
    console.out(f"This node joined a swarm as a {role}.")
    return 0


def _leave(console: Console, args: Args) -> int:
    cluster.leave(console.client, force=args.on("force"))
    console.out("Node left the swarm.")
    return 0


def _update(console: Console, args: Args) -> int:
    if not any(args.given(flag.name) for flag in _UPDATE_FLAGS):
        console.out(args.command.help())
        return 0
    found = cluster.inspect(console.client)
    spec = found["Spec"]
    locked = bool((spec.get("EncryptionConfig") or {}).get("AutoLockManagers"))
    change_spec(spec, args)
    if args.given("autolock"):
        spec["EncryptionConfig"] = {"AutoLockManagers": args.on("autolock")}
    cluster.update(console.client, found["Version"]["Index"], spec)
    console.out("Swarm updated.")
    if args.on("autolock") and not locked:
        from sampan.cli.swarm.keys import show_unlock_key

        show_unlock_key(console)
    return 0


_ADVERTISE = Flag("advertise-addr", "", TEXT, 'Advertised address ("<ip|interface>[:port]")')
_AVAILABILITY = Flag("availability", "", TEXT, '"active", "pause", "drain" (default "active")')
_DATA_PATH = Flag("data-path-addr", "", TEXT, "Address or interface to use for data path traffic")
_LISTEN = Flag("listen-addr", "", TEXT, f"Listen address (default {LISTEN})")
_SHARED = (
    Flag("cert-expiry", "", "duration", "Validity of node certificates (default 2160h0m0s)"),
    Flag("dispatcher-heartbeat", "", "duration", "Heartbeat period (default: by cluster size)"),
    Flag("external-ca", "", LIST, "Specifications of one or more certificate signing endpoints"),
    Flag("max-snapshots", "", "uint", "Number of additional snapshots to retain"),
    Flag("snapshot-interval", "", "uint", "Number of log entries between snapshots"),
    Flag("task-history-limit", "", INT, "Task history retention limit (default 5)"),
)
_INIT_FLAGS = (
    _ADVERTISE,
    Flag("autolock", "", BOOL, "Managers need an unlock key to start again"),
    _AVAILABILITY,
    _DATA_PATH,
    Flag("data-path-port", "", "uint", "Port for data path traffic, 1024 to 49151 (default 4789)"),
    Flag("default-addr-pool", "", LIST, "Default address pool in CIDR format"),
    Flag("default-addr-pool-mask-length", "", "uint", "Mask length of each subnet (default 24)"),
    Flag("force-new-cluster", "", BOOL, "Force create a new cluster from current state"),
    _LISTEN,
    *_SHARED,
)
_UPDATE_FLAGS = (
    Flag("autolock", "", BOOL, "Change manager autolocking setting (true|false)"),
    *_SHARED,
)

COMMANDS = {
    "swarm init": Command("swarm init", "[OPTIONS]", "Initialize a swarm", _init, _INIT_FLAGS),
    "swarm join": Command(
        "swarm join",
        "[OPTIONS] HOST:PORT",
        "Join a swarm as a node and/or manager",
        _join,
        (
            _ADVERTISE,
            _AVAILABILITY,
            _DATA_PATH,
            _LISTEN,
            Flag("token", "", TEXT, "Token for entry into the swarm"),
        ),
        1,
        1,
    ),
    "swarm leave": Command(
        "swarm leave",
        "[OPTIONS]",
        "Leave the swarm",
        _leave,
        (Flag("force", "f", BOOL, "Force this node to leave the swarm, ignoring warnings"),),
    ),
    "swarm update": Command(
        "swarm update", "[OPTIONS]", "Update the swarm", _update, _UPDATE_FLAGS
    ),
}
