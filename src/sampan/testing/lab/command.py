"""``script/lab``: a laboratory to play in, which stays until it is told to go."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sampan.testing.lab import Lab, LabHost, sweep
from sampan.testing.lab.lab import forget, is_standing

HELP = """\
Hosts out of namespaces on a LAN of their own: each has a hostname, a daemon, an address
(198.51.100.I) and a cable, and nothing but those namespaces is touched. I is 1 to N, or client:
a host without a daemon beside them.

  script/lab up 3                               three hosts, in two seconds
  script/lab exec 1 sampan swarm init           a command on host 1; no command: a shell
  script/lab exec 1 docker node ls              the stock docker command works as well
  script/lab exec client curl -s http://host2/  from the LAN
  script/lab cut 2; script/lab heal 2           pull host 2's cable, plug it in again
  script/lab kill 3; script/lab revive 3        take host 3's power away, give it back
  script/lab down                               all of it gone
"""


STANDARD = "lab"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="script/lab", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--name", default=STANDARD, help="another laboratory beside this one")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    up = verbs.add_parser("up", help="make N hosts and start their daemons")
    up.add_argument("hosts", nargs="?", type=int, default=3, metavar="N")
    up.add_argument("--docker", action="store_true", help="with Docker's daemon, to compare")
    run = verbs.add_parser("exec", help="run a command on a host")
    run.add_argument("host", metavar="I")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="CMD")
    verbs.add_parser("down", help="take everything away")
    for verb, what in (
        ("cut", "pull its cable"),
        ("heal", "plug it in again"),
        ("kill", "take its power away: every process on it ends at once"),
        ("revive", "give it back"),
    ):
        verbs.add_parser(verb, help=what).add_argument("host", metavar="I")
    chosen = parser.parse_args(arguments)
    base = sweep.parent() / f"{sweep.PREFIX}-{chosen.name}"
    # As the next command must begin to mean the same laboratory.
    this = "script/lab" if chosen.name == STANDARD else f"script/lab --name {chosen.name}"
    try:
        if chosen.verb == "up":
            return _up(base, chosen.hosts, docker=chosen.docker, this=this)
        if chosen.verb == "down":
            forget(base)
            sweep.remove_debris()
            return 0
        if not is_standing(base):
            raise ValueError(f"no laboratory is up: {this} up")
        host = _host(Lab.find(base), chosen.host)
        if chosen.verb == "exec":
            _exec(host, chosen.command, this)
        {"cut": host.cut_off, "heal": host.heal, "kill": host.kill, "revive": host.revive}[
            chosen.verb
        ]()
    except KeyboardInterrupt:
        print("lab: interrupted; nothing is left", file=sys.stderr)
        return 130
    except (ValueError, RuntimeError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


def _up(base: Path, hosts: int, *, docker: bool, this: str) -> int:
    if is_standing(base):
        raise ValueError(f"it is up already: {this} exec 1 CMD, or {this} down")
    forget(base)
    # whatever interrupts this, even kill -9, takes the half-made laboratory away
    lab = Lab(kinds=("docker" if docker else "sampan",) * hosts, base=base)
    lab.__enter__()
    lab.leave_standing()
    command = "docker" if docker else "sampan"
    for host in lab.hosts:
        print(f"{host.name}  {host.address}  {host.daemon.host}")
    print(f"{lab.client.name} {lab.client.address}")
    print(
        f"""
next: {this} exec 1 {command} swarm init
      {this} exec 2 {command} swarm join ...     (as swarm init says)
      {this} exec 1 {command} node ls
      {this} down"""
    )
    return 0


def _host(lab: Lab, which: str) -> LabHost:
    if which == "client":
        return lab.client
    if which.isdigit() and 0 < int(which) <= len(lab.hosts):
        return lab.hosts[int(which) - 1]
    raise ValueError(f"there is no host {which}: say 1 to {len(lab.hosts)}, or client")


def _exec(host: LabHost, command: list[str], this: str) -> None:
    """Become the command."""
    if not host.machine.alive:
        raise ValueError(f"{host.name} has no power: {this} revive {host.identity.number}")
    command = command or [os.environ.get("SHELL", "/bin/sh")]
    words = host.place.command(*command, where=os.getcwd())
    os.execvpe(words[0], words, host.environment)


if __name__ == "__main__":
    sys.exit(main())
