"""``service inspect --pretty``. Pure."""

from __future__ import annotations

from sampan.units import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


def service_text(service: Mapping[str, Any], networks: Mapping[str, str]) -> str:
    """The service for people. ``networks``: id -> name."""
    return "\n".join(_service(service, networks)) + "\n"


def duration(ns: int) -> str:
    """``1m30s``, as Go prints durations."""
    if not ns:
        return "0s"
    if abs(ns) < 10**9:
        for unit, name in ((10**6, "ms"), (10**3, "µs")):
            if abs(ns) >= unit:
                return f"{ns / unit:g}{name}"
        return f"{ns}ns"
    minutes, rest = divmod(ns, 60 * 10**9)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 10**9:.9f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _service(service: Mapping[str, Any], networks: Mapping[str, str]) -> Iterator[str]:
    spec = service["Spec"]
    task = spec.get("TaskTemplate") or {}
    yield f"\nID:\t\t{service['ID']}"
    yield f"Name:\t\t{spec['Name']}"
    if spec.get("Labels"):
        yield "Labels:"
        for name, value in sorted(spec["Labels"].items()):
            yield f" {name}={value}" if value else f" {name}"
    yield from _mode(spec.get("Mode") or {})
    yield from _status(service.get("UpdateStatus") or {})
    yield from _placement(task.get("Placement") or {})
    yield from _rollout("Update", spec.get("UpdateConfig"))
    yield from _rollout("Rollback", spec.get("RollbackConfig"))
    yield from _container(task.get("ContainerSpec") or {})
    yield from _resources(task.get("Resources") or {})
    attached = [
        networks.get(item["Target"], item["Target"])
        for item in task.get("Networks") or spec.get("Networks") or ()
    ]
    if attached:
        yield f"Networks: {' '.join(attached)} "
    endpoint = service.get("Endpoint") or {}
    mode = (spec.get("EndpointSpec") or {}).get("Mode") or (endpoint.get("Spec") or {}).get("Mode")
    if mode:
        yield f"Endpoint Mode:\t{mode}"
    if endpoint.get("Ports"):
        yield "Ports:"
        for port in endpoint["Ports"]:
            yield f" PublishedPort = {port.get('PublishedPort', 0)}"
            yield f"  Protocol = {port.get('Protocol', 'tcp')}"
            yield f"  TargetPort = {port['TargetPort']}"
            yield f"  PublishMode = {port.get('PublishMode', 'ingress')}"
    yield from _health((task.get("ContainerSpec") or {}).get("Healthcheck") or {})


def _mode(mode: Mapping[str, Any]) -> Iterator[str]:
    if "Replicated" in mode:
        yield "Service Mode:\tReplicated"
        replicas = (mode["Replicated"] or {}).get("Replicas")
        if replicas is not None:
            yield f" Replicas:\t{replicas}"
    elif "ReplicatedJob" in mode:
        yield "Service Mode:\tReplicated Job"
        job = mode["ReplicatedJob"] or {}
        yield f" Max Concurrent:\t{job.get('MaxConcurrent') or 1}"
        yield f" Total Completions:\t{job.get('TotalCompletions') or 1}"
    else:
        yield "Service Mode:\t" + ("Global Job" if "GlobalJob" in mode else "Global")


def _status(status: Mapping[str, Any]) -> Iterator[str]:
    if not status.get("State"):
        return
    yield "UpdateStatus:"
    yield f" State:\t\t{status['State']}"
    for key, name in (("StartedAt", "Started"), ("CompletedAt", "Completed")):
        if status.get(key):
            yield f" {name}:\t{_ago(status[key])}"
    yield f" Message:\t{status.get('Message', '')}"


def _ago(moment: str) -> str:
    import time

    from sampan.cli.units import ago, parse_time

    return ago(time.time() - parse_time(moment))


def _placement(place: Mapping[str, Any]) -> Iterator[str]:
    yield "Placement:"
    if place.get("Constraints"):
        yield f" Constraints:\t[{' '.join(place['Constraints'])}]"
    spread = [
        f"spread={(item.get('Spread') or {}).get('SpreadDescriptor', '')}"
        for item in place.get("Preferences") or ()
    ]
    if spread:
        yield f" Preferences:\t[{' '.join(spread)}]"
    if place.get("MaxReplicas"):
        yield f" Max Replicas Per Node:   {place['MaxReplicas']}"


def _rollout(word: str, config: Mapping[str, Any] | None) -> Iterator[str]:
    if config is None:
        return
    low = word.lower()
    yield f"{word}Config:"
    yield f" Parallelism:\t{config.get('Parallelism', 0)}"
    if config.get("Delay"):
        yield f" Delay:\t\t{duration(config['Delay'])}"
    yield f" On failure:\t{config.get('FailureAction') or 'pause'}"
    if config.get("Monitor"):
        yield f" Monitoring Period: {duration(config['Monitor'])}"
    yield f" Max failure ratio: {config.get('MaxFailureRatio', 0):g}"
    gap = " " * (6 if low == "update" else 4)
    yield f" {word} order:{gap}{config.get('Order') or 'stop-first'}"


def _container(part: Mapping[str, Any]) -> Iterator[str]:
    yield "ContainerSpec:"
    yield f" Image:\t\t{part.get('Image', '')}"
    for key, name in (("Command", "Command:"), ("Args", "Args:\t"), ("Env", "Env:\t")):
        if part.get(key):
            yield f" {name}\t{' '.join(part[key])} "
    for key, name in (("Dir", "Dir"), ("User", "User")):
        if part.get(key):
            yield f" {name}:\t\t{part[key]}"
    if part.get("Init") is not None:
        yield f" Init:\t\t{'true' if part['Init'] else 'false'}"
    for key, name in (("CapabilityAdd", "Add"), ("CapabilityDrop", "Drop")):
        if part.get(key):
            yield f" Capabilities {name}: {', '.join(part[key])}"
    if part.get("Mounts"):
        yield "Mounts:"
        for mount in part["Mounts"]:
            yield f" Target:\t{mount.get('Target', '')}"
            yield f"  Source:\t{mount.get('Source', '')}"
            yield f"  ReadOnly:\t{'true' if mount.get('ReadOnly') else 'false'}"
            yield f"  Type:\t\t{mount.get('Type', '')}"
    for key, name in (("Configs", "Config"), ("Secrets", "Secret")):
        if part.get(key):
            yield f"{key}:"
            for grant in part[key]:
                yield f" Target:\t{(grant.get('File') or {}).get('Name', '')}"
                yield f"  Source:\t{grant.get(f'{name}Name', '')}"


def _resources(resources: Mapping[str, Any]) -> Iterator[str]:
    yield "Resources:"
    for key in ("Reservations", "Limits"):
        part = resources.get(key) or {}
        if not part:
            continue
        yield f" {key}:"
        if part.get("NanoCPUs"):
            yield f"  CPU:\t\t{part['NanoCPUs'] / 1e9:g}"
        if part.get("MemoryBytes"):
            yield f"  Memory:\t{binary_size(part['MemoryBytes'])}"
        if part.get("Pids"):
            yield f"  PIDs:\t\t{part['Pids']}"
        for generic in part.get("GenericResources") or ():
            for counted in generic.values():
                yield f"  {counted['Kind']}:\t\t{counted['Value']}"


def _health(check: Mapping[str, Any]) -> Iterator[str]:
    if not check:
        return
    yield " Healthcheck:"
    for key in ("Interval", "Timeout", "StartPeriod", "StartInterval"):
        if check.get(key):
            yield f"  {key} = {duration(check[key])}"
    if check.get("Retries"):
        yield f"  Retries = {check['Retries']}"
    if check.get("Test"):
        yield f"  Tests:\n\t Test = {' '.join(check['Test'])}"
