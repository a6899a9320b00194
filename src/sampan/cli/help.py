"""The overview that ``sampan`` alone prints."""

from __future__ import annotations

from sampan.cli.commands import GROUPS, MODULES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from sampan.flags import Flag

_COMMON = ("run", "exec", "ps", "build", "pull", "push", "images", "logs", "version", "info")
_GROUP_WORDS = {
    "compose": "Define and run applications of many containers",
    "container": "Manage containers",
    "image": "Manage images (image bootstrap makes a first one without a registry)",
    "network": "Manage networks",
    "volume": "Manage volumes",
    "system": "Disk usage, events, pruning",
    "builder": "Manage builds",
    "swarm": "Make one cluster of several hosts",
    "node": "Manage the cluster's hosts",
    "service": "Manage services, which run on the cluster",
    "stack": "Run compose files on the cluster",
    "secret": "Manage secrets of services",
    "config": "Manage configs of services",
    "cluster": "Explain what the cluster does (cluster why SERVICE)",
}


def overview(flags: Sequence[Flag]) -> str:
    """Every command with its summary."""
    others = sorted(name for name in MODULES if " " not in name and name not in _COMMON)
    lines = ["Usage:  sampan [OPTIONS] COMMAND", "", "Common Commands:"]
    lines += [_line(name, _summary(name)) for name in _COMMON]
    lines += ["", "Groups:", *(_line(name, words) for name, words in _GROUP_WORDS.items())]
    lines += ["", "Commands:", *(_line(name, _summary(name)) for name in others)]
    lines += ["", "Global Options:"]
    for flag in flags:
        short = f"-{flag.short}, " if flag.short else "    "
        lines.append(f"  {short}--{flag.name:<14}{flag.help}")
    return "\n".join(lines) + "\n\nRun 'sampan COMMAND --help' for more about a command.\n"


def group_overview(group: str) -> str:
    """The commands of one group."""
    lines = [f"Usage:  sampan {group} COMMAND", "", _GROUP_WORDS[group], "", "Commands:"]
    seen: set[str] = set()
    for word, name in sorted(GROUPS[group].items()):
        if name not in seen or word == name.rpartition(" ")[2]:
            lines.append(_line(word, _summary(name)))
        seen.add(name)
    return "\n".join(lines) + f"\n\nRun 'sampan {group} COMMAND --help' for more.\n"


def _line(name: str, words: str) -> str:
    return f"  {name:<12}{words}"


def _summary(name: str) -> str:
    from sampan.cli.commands import load

    return load(name).summary
