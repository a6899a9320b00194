"""Who may import whom: the layers of the package, as a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "sampan"

FOUNDATION = {path.stem for path in SOURCE.glob("*.py")} - {"__init__"}
"""Every module that stands in no package."""
PARTS = {"image", "runtime", "network", "volume"}
ALLOWED: dict[str, set[str]] = {
    "kernel": set(),
    "http": set(),
    "store": set(),
    **{part: {"store", "kernel"} for part in PARTS},
    "engine": PARTS | {"store", "kernel"},
    "build": PARTS | {"store", "kernel"},
    "cluster": PARTS | {"engine", "http", "store", "kernel"},
    "plugins": PARTS | {"store"},
    "api": PARTS | {"plugins", "cluster", "engine", "build", "http", "store", "kernel"},
    "client": set(),
    "compose": {"client"},
    "cli": {"client", "compose"},
}
FLOORS: dict[str, tuple[set[str], ...]] = {
    "api": (
        {
            "builtin_drivers",
            "disk",
            "errors",
            "facts",
            "filters",
            "foreign_options",
            "frames",
            "lock",
            "membership",
            "preflight",
            "timestamps",
            "types",
            "untar",
            "versions",
        },
        {"context", "credentials", "hijack", "options", "translate"},
        {"engine_like"},
        {"acknowledge", "info"},
        {"docker_request"},
        {"cluster", "decode", "json_stream"},
        {"routes", "services"},
        {"authorization", "front", "wiring"},
        {"daemon"},
    ),
    "cli": (
        {"commands", "terminal", "units"},
        {"flag_values", "help"},
        {"image", "main", "service"},
        {"container", "stack", "swarm"},
        {"system"},
    ),
    "cluster": (
        {"backoff", "base36", "errors", "heartbeat", "peer", "spec", "states", "templates"},
        {"records"},
        {"images", "model", "placement", "protocol", "schema"},
        {"contract"},
        {"etcd", "find", "loop", "manager_parts"},
        {"allocator", "ca", "orchestrator"},
        {"scheduler"},
        {"agent", "control", "dispatcher", "leader"},
        {"node"},
    ),
    "compose": (
        {"errors", "units"},
        {"file"},
        {"model"},
        {"plan", "stack"},
        {"run"},
        {"commands"},
        {"cli"},
    ),
    "engine": (
        {"cluster_networks", "container_name_words", "contract", "drivers", "rootfs", "stdio"},
        {"container_index", "container_names", "parts", "waiters"},
        {"in_flight", "spec"},
        {"observe"},
        {"exec", "log_forwarding", "networking", "volumes"},
        {"files", "lifecycle"},
        {"engine"},
    ),
    "http": (
        {"decode", "sockets", "status", "tls"},
        {"connection", "router"},
        {"front", "hijack"},
        {"context", "server"},
    ),
    "image": (
        {"contract", "deferred_delete", "tar"},
        {"auth", "config", "manifest", "members", "reference", "worker_frames"},
        {"image_index", "registry", "unpack", "workers"},
        {"changes", "distribution", "pack", "tar_split"},
        {"worker"},
        {"archive_index", "layers"},
        {"canonical", "pull", "push", "snapshots"},
        {"archive", "overlay", "peer_blobs", "vfs"},
        {"service"},
    ),
    "network": (
        {"contract", "deferred_delete", "dns", "firewall", "mac", "relay", "sandbox", "worker"},
        {"etc", "ipam", "ports", "sweep"},
        {"dns_control", "publishing", "subnets"},
        {"hostnet", "overlay"},
        {"drivers"},
        {"sandbox_state"},
        {"addresses", "builtin", "naming"},
        {"egress", "leaving", "restoring"},
        {"networks"},
    ),
    "runtime": (
        {"capabilities", "contract", "seccomp", "spec_devices"},
        {
            "facts",
            "failures",
            "feed",
            "files",
            "log_drivers",
            "mount_targets",
            "logarchive",
            "logformat",
            "security_options",
            "streams",
            "users",
        },
        {
            "attach",
            "exits",
            "logblocks",
            "oci_runtimes",
            "rotate",
            "spec_mounts",
            "spec_resources",
        },
        {"execs", "logs", "monitor", "spec"},
        {"runs"},
    ),
}
"""Package -> its floors, the ground first: each names rooms, which are sub-packages and modules."""
SYSCALL_DOORS = {"ctypes", "cffi"}


def modules() -> list[Path]:
    return sorted(p for p in SOURCE.rglob("*.py") if p.relative_to(SOURCE).parts[0] != "testing")


def imported(path: Path) -> set[str]:
    """Dotted names of everything a module imports, at whatever depth of its code."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_downwards(path: Path) -> None:
    package = path.relative_to(SOURCE).parts[0]
    inner = {
        name.split(".")[1]
        for name in imported(path)
        if name.startswith("sampan.") and len(name.split(".")) > 1
    } - {"__version__"}
    if package.endswith(".py"):
        assert inner <= FOUNDATION, f"{path.name} is foundation and may import foundation only"
    else:
        assert inner <= ALLOWED[package] | FOUNDATION | {package}


@pytest.mark.parametrize("package", FLOORS)
def test_rooms_import_from_the_floors_below_them_only(package: str) -> None:
    floor_of = {room: at for at, rooms in enumerate(FLOORS[package]) for room in rooms}
    upward: list[str] = []
    for path in modules():
        inside = path.relative_to(SOURCE).with_suffix("").parts
        if inside[0] != package or inside[1] == "__init__":
            continue
        assert inside[1] in floor_of, f"{'.'.join(inside)} stands on no floor: draw it in FLOORS"
        for name in imported(path):
            parts = name.split(".")
            if parts[:2] != ["sampan", package] or len(parts) < 3 or parts[2] not in floor_of:
                continue
            if parts[2] != inside[1] and floor_of[parts[2]] >= floor_of[inside[1]]:
                upward.append(f"{'.'.join(inside)} imports {name}")
    assert not upward


def test_the_command_and_the_daemon_meet_only_over_the_api() -> None:
    outside = {"client", "compose", "cli"}
    for path in modules():
        package = path.relative_to(SOURCE).parts[0]
        if package in outside:
            inner = {n.split(".")[1] for n in imported(path) if n.startswith("sampan.")}
            assert inner <= outside | FOUNDATION | {"__version__"}, path


def test_only_the_kernel_package_makes_system_calls_by_hand() -> None:
    for path in modules():
        top = {name.split(".")[0] for name in imported(path)}
        if path.relative_to(SOURCE).parts[0] != "kernel":
            assert not top & SYSCALL_DOORS, path


def test_no_module_has_grown_past_one_idea() -> None:
    long = {
        str(p.relative_to(SOURCE)): n
        for p in modules()
        if (n := len(p.read_text().splitlines())) > 500
    }
    assert not long, f"more than 500 lines, which usually means two ideas: {long}"


def test_no_loop_is_asked_for_a_task_behind_the_back_of_aio() -> None:
    """Ruff refuses ``asyncio.create_task``; a loop has a method of that name, too."""
    loose = []
    for path in modules():
        if path.name == "aio.py":
            continue
        tree = ast.parse(path.read_text())
        loose += [
            f"{path.relative_to(SOURCE)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("create_task", "ensure_future")
            and "loop" in ast.unparse(node.func.value)
        ]
    assert not loose


def test_the_kernel_is_passed_in() -> None:
    """Nobody but the composition root says which kernel it is."""
    real = {"HOST", "Netlink", "Nft"}
    for path in modules():
        where = path.relative_to(SOURCE).as_posix()
        if where.startswith("kernel/") or where == "api/wiring.py":
            continue
        named = {
            name.rpartition(".")[2] for name in imported(path) if name.startswith("sampan.kernel.")
        }
        assert not named & real, f"{where}: take a Linux from whoever makes this"
