"""The ``deploy`` section of one service, and its secrets and configs: ``StackService``."""

from __future__ import annotations

from sampan.compose.file.node_reader import NodeReader
from sampan.compose.model.project import Service
from sampan.compose.stack.model import Amounts, Restart, Rollout, StackGrant, StackService

_MODES = ("replicated", "global", "replicated-job", "global-job")
_CONDITIONS = {"any": "any", "on-failure": "on-failure", "none": "none"}


def read_stack_service(cur: NodeReader, service: Service) -> StackService:
    """``cur`` is the service's node. Raises ComposeFileError with the place."""
    deploy = cur["deploy"]
    mode = deploy["mode"].text("replicated")
    if mode not in _MODES:
        raise deploy["mode"].fail(f'"{mode}" is not one of {", ".join(_MODES)}')
    said = deploy["replicas"] if deploy["replicas"] else cur["scale"]
    if said and mode.startswith("global"):
        raise said.fail(f"replicas mean nothing in mode {mode}: it runs one on each node")
    replicas = said.integer() if said else None
    if replicas is not None and replicas < 0:
        raise said.fail("cannot be negative")
    placement = deploy["placement"]
    resources = deploy["resources"]
    return StackService(
        service=service,
        mode=mode,
        replicas=replicas,
        endpoint_mode=_word(deploy["endpoint_mode"], ("vip", "dnsrr")),
        labels=deploy["labels"].strings(),
        constraints=placement["constraints"].texts(),
        spread=tuple(item["spread"].text() for item in placement["preferences"]),
        max_per_node=placement["max_replicas_per_node"].integer(),
        limits=_limits(resources["limits"], service),
        reservations=_reservations(resources["reservations"], service),
        restart=_restart(deploy["restart_policy"], service),
        update=_rollout(deploy["update_config"], ("continue", "rollback", "pause")),
        rollback=_rollout(deploy["rollback_config"], ("continue", "pause")),
        secrets=tuple(_grant(item) for item in cur["secrets"]),
        configs=tuple(_grant(item) for item in cur["configs"]),
    )


def _word(cur: NodeReader, known: tuple[str, ...]) -> str:
    word = cur.text().lower()
    if word and word not in known:
        raise cur.fail(f'"{word}" is not one of {", ".join(known)}')
    return word


def _nano(cpus: float) -> int:
    return round(cpus * 10**9)


def _limits(cur: NodeReader, service: Service) -> Amounts:
    """``deploy`` wins; what the same file says for one host (``mem_limit``) stands in for it."""
    plain = service.settings
    return Amounts(
        nano_cpus=_nano(cur["cpus"].number(float(plain.get("cpus", 0)))),
        memory=cur["memory"].size(int(plain.get("mem_limit", 0))),
        pids=cur["pids"].integer(max(int(plain.get("pids_limit", 0)), 0)),
    )


def _reservations(cur: NodeReader, service: Service) -> Amounts:
    generic = []
    for item in cur["generic_resources"]:
        counted = item["discrete_resource_spec"]
        if not counted["kind"]:
            raise item.fail("needs discrete_resource_spec with kind and value")
        generic.append((counted["kind"].text(), counted["value"].integer()))
    return Amounts(
        nano_cpus=_nano(cur["cpus"].number()),
        memory=cur["memory"].size(int(service.settings.get("mem_reservation", 0))),
        generic=tuple(generic),
    )


def _restart(cur: NodeReader, service: Service) -> Restart | None:
    if not cur:
        return _plain_restart(service.restart)
    word = cur["condition"].text()
    if word and word not in _CONDITIONS:
        raise cur["condition"].fail(f'"{word}" is not one of {", ".join(_CONDITIONS)}')
    return Restart(
        condition=word,
        delay_ns=cur["delay"].duration() if cur["delay"] else None,
        max_attempts=cur["max_attempts"].integer() if cur["max_attempts"] else None,
        window_ns=cur["window"].duration() if cur["window"] else None,
    )


def _plain_restart(word: str) -> Restart | None:
    """What ``restart:`` says for one host, in the cluster's words."""
    name, _, count = word.partition(":")
    if name in ("", "no"):
        return None
    if name == "on-failure":
        return Restart(condition="on-failure", max_attempts=int(count) if count else None)
    return Restart(condition="any")


def _rollout(cur: NodeReader, actions: tuple[str, ...]) -> Rollout | None:
    if not cur:
        return None
    return Rollout(
        parallelism=cur["parallelism"].integer(1),
        delay_ns=cur["delay"].duration(),
        failure_action=_word(cur["failure_action"], actions),
        monitor_ns=cur["monitor"].duration(),
        max_failure_ratio=cur["max_failure_ratio"].number(),
        order=_word(cur["order"], ("stop-first", "start-first")),
    )


def _grant(cur: NodeReader) -> StackGrant:
    if cur.is_scalar:
        return StackGrant(cur.text(), cur.text())
    source = cur["source"].text()
    mode = cur["mode"]
    text = mode.text()
    # YAML 1.1 reads 0440 as octal, and that is what everyone means here.
    octal = text.lstrip("0o").isdecimal() and text.startswith("0")
    return StackGrant(
        source,
        cur["target"].text(source),
        cur["uid"].text("0"),
        cur["gid"].text("0"),
        (int(text.removeprefix("0o"), 8) if octal else mode.integer()) if mode else 0o444,
    )
