"""``sampan network``."""

from __future__ import annotations

from sampan.cli.flag_values import key_values
from sampan.cli.terminal.console import Console, parse_filters
from sampan.cli.terminal.table import show_rows
from sampan.client import networks
from sampan.flags import BOOL, INT, LIST, TEXT, Args, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEADERS = {
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv6": "IPV6",
    "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT",
}  # fmt: skip


def _ls(console: Console, args: Args) -> int:
    found = networks.list_(console.client, parse_filters(args.many("filter")))
    found.sort(key=lambda item: str(item["Name"]))
    form, whole = args.text("format"), args.on("no-trunc")
    if args.on("quiet") and not form:
        for item in found:
            console.out(item["Id"] if whole else item["Id"][:12])
        return 0
    rows = [_row(item, whole) for item in found]
    show_rows(console, rows, _HEADERS, ("ID", "Name", "Driver", "Scope"), form)
    return 0


def _row(item: dict[str, Any], whole: bool) -> dict[str, Any]:
    labels: dict[str, str] = item.get("Labels") or {}
    return {
        "ID": item["Id"] if whole else item["Id"][:12],
        "Name": item["Name"],
        "Driver": item["Driver"],
        "Scope": item["Scope"],
        "IPv6": str(bool(item.get("EnableIPv6"))).lower(),
        "Internal": str(bool(item.get("Internal"))).lower(),
        "Labels": ",".join(f"{name}={value}" for name, value in sorted(labels.items())),
        "Label": lambda name: labels.get(name, ""),
        "CreatedAt": item.get("Created", ""),
    }


def _create(console: Console, args: Args) -> int:
    body = create_body(args)
    made = networks.create(console.client, body)
    if made.get("Warning"):
        console.err(f"WARNING: {made['Warning']}")
    console.out(made["Id"])
    return 0


def create_body(args: Args) -> dict[str, Any]:
    """The body of ``POST /networks/create``. Raises ValueError."""
    body: dict[str, Any] = {
        "Name": args.rest[0],
        "Driver": args.text("driver", "bridge"),
        "CheckDuplicate": True,
        "Internal": args.on("internal"),
        "Attachable": args.on("attachable"),
        "Ingress": args.on("ingress"),
        "EnableIPv6": args.on("ipv6"),
        "Options": key_values(args.many("opt")),
        "Labels": key_values(args.many("label")),
        "IPAM": {
            "Driver": args.text("ipam-driver", "default"),
            "Options": key_values(args.many("ipam-opt")),
            "Config": _pools(args),
        },
    }
    if args.given("ipv4"):
        body["EnableIPv4"] = args.on("ipv4")
    if args.given("scope"):
        body["Scope"] = args.text("scope")
    if args.given("config-only"):
        body["ConfigOnly"] = args.on("config-only")
    if args.given("config-from"):
        body["ConfigFrom"] = {"Network": args.text("config-from")}
    return body


def _pools(args: Args) -> list[dict[str, Any]]:
    """One pool a subnet; ranges, gateways and reserved addresses go to the subnet they lie in."""
    from ipaddress import ip_address, ip_network

    pools = [(ip_network(text), {"Subnet": text}) for text in args.many("subnet")]
    details = [("IPRange", text) for text in args.many("ip-range")]
    details += [("Gateway", text) for text in args.many("gateway")]
    for key, text in details:
        address = ip_address(text.partition("/")[0])
        pool = next((pool for net, pool in pools if address in net), None)
        if pool is None:
            raise ValueError(f"no matching subnet for {key} {text}: add --subnet")
        if key in pool:
            raise ValueError(f"cannot configure multiple {key} values for {pool['Subnet']}")
        pool[key] = text
    out: list[dict[str, Any]] = [dict(pool) for _, pool in pools]
    for name, text in key_values(args.many("aux-address")).items():
        address = ip_address(text)
        for (net, _), entry in zip(pools, out, strict=True):
            if address in net:
                entry.setdefault("AuxiliaryAddresses", {})[name] = text
                break
        else:
            raise ValueError(f"no matching subnet for aux-address {text}: add --subnet")
    return out


def _connect(console: Console, args: Args) -> int:
    network, container = args.rest
    endpoint: dict[str, Any] = {}
    if args.given("alias"):
        endpoint["Aliases"] = args.many("alias")
    if args.given("link"):
        endpoint["Links"] = args.many("link")
    if args.given("driver-opt"):
        endpoint["DriverOpts"] = key_values(args.many("driver-opt"))
    if args.given("gw-priority"):
        endpoint["GwPriority"] = args.number("gw-priority")
    ipam: dict[str, Any] = {}
    for flag, key in (("ip", "IPv4Address"), ("ip6", "IPv6Address")):
        if args.given(flag):
            ipam[key] = args.text(flag)
    if args.given("link-local-ip"):
        ipam["LinkLocalIPs"] = args.many("link-local-ip")
    if ipam:
        endpoint["IPAMConfig"] = ipam
    networks.connect(console.client, network, container, endpoint)
    return 0


def _disconnect(console: Console, args: Args) -> int:
    network, container = args.rest
    networks.disconnect(console.client, network, container, force=args.on("force"))
    return 0


def _rm(console: Console, args: Args) -> int:
    return console.each(
        args.rest, lambda ref: networks.remove(console.client, ref), missing_ok=args.on("force")
    )


def _prune(console: Console, args: Args) -> int:
    what = "This will remove all custom networks not used by at least one container."
    if not console.agrees(args, what):
        return 1
    done = networks.prune(console.client, parse_filters(args.many("filter")))
    return console.report_pruned("Deleted Networks", done.get("NetworksDeleted") or [])


_FORCE = Flag("force", "f", BOOL, "Do not complain about what is not there")
_CREATE_FLAGS = (
    Flag("attachable", "", BOOL, "Enable manual container attachment"),
    Flag("aux-address", "", LIST, "Auxiliary IPv4 or IPv6 addresses used by Network driver"),
    Flag("config-from", "", TEXT, "The network from which to copy the configuration"),
    Flag("config-only", "", BOOL, "Create a configuration only network"),
    Flag("driver", "d", TEXT, 'Driver to manage the Network (default "bridge")'),
    Flag("gateway", "", LIST, "IPv4 or IPv6 Gateway for the master subnet"),
    Flag("ingress", "", BOOL, "Create swarm routing-mesh network"),
    Flag("internal", "", BOOL, "Restrict external access to the network"),
    Flag("ip-range", "", LIST, "Allocate container ip from a sub-range"),
    Flag("ipam-driver", "", TEXT, "IP Address Management Driver"),
    Flag("ipam-opt", "", LIST, "Set IPAM driver specific options"),
    Flag("ipv4", "", BOOL, "Enable or disable IPv4 address assignment"),
    Flag("ipv6", "", BOOL, "Enable or disable IPv6 address assignment"),
    Flag("label", "", LIST, "Set metadata on a network"),
    Flag("opt", "o", LIST, "Set driver specific options"),
    Flag("scope", "", TEXT, "Control the network's scope"),
    Flag("subnet", "", LIST, "Subnet in CIDR format that represents a network segment"),
)
_CONNECT_FLAGS = (
    Flag("alias", "", LIST, "Add network-scoped alias for the container"),
    Flag("driver-opt", "", LIST, "Driver options for the network"),
    Flag("gw-priority", "", INT, "Highest gw-priority provides the default gateway"),
    Flag("ip", "", TEXT, "IPv4 address"),
    Flag("ip6", "", TEXT, "IPv6 address"),
    Flag("link", "", LIST, "Add link to another container"),
    Flag("link-local-ip", "", LIST, "Add a link-local address for the container"),
)
_LS_FLAGS = (
    Flag("filter", "f", LIST, 'Provide filter values (e.g. "driver=bridge")'),
    Flag("format", "", TEXT, "'table', 'table TEMPLATE', 'json' or a Go template"),
    Flag("no-trunc", "", BOOL, "Do not truncate the output"),
    Flag("quiet", "q", BOOL, "Only display network IDs"),
)
_PRUNE_FLAGS = (
    Flag("filter", "", LIST, 'Provide filter values (e.g. "until=<timestamp>")'),
    Flag("force", "f", BOOL, "Do not prompt for confirmation"),
)

COMMANDS = {
    "network ls": Command("network ls", "[OPTIONS]", "List networks", _ls, _LS_FLAGS),
    "network create": Command(
        "network create", "[OPTIONS] NETWORK", "Create a network", _create, _CREATE_FLAGS, 1, 1
    ),
    "network connect": Command(
        "network connect",
        "[OPTIONS] NETWORK CONTAINER",
        "Connect a container to a network",
        _connect,
        _CONNECT_FLAGS,
        2,
        2,
    ),
    "network disconnect": Command(
        "network disconnect",
        "[OPTIONS] NETWORK CONTAINER",
        "Disconnect a container from a network",
        _disconnect,
        (Flag("force", "f", BOOL, "Force the container to disconnect from a network"),),
        2,
        2,
    ),
    "network rm": Command(
        "network rm", "NETWORK [NETWORK...]", "Remove one or more networks", _rm, (_FORCE,), 1, None
    ),
    "network prune": Command(
        "network prune", "[OPTIONS]", "Remove all unused networks", _prune, _PRUNE_FLAGS
    ),
}
