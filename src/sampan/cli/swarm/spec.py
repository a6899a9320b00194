"""A cluster's specification as the flags of ``sampan swarm`` change it."""

from __future__ import annotations

from sampan.cli.service.values import duration, given, unsigned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from sampan.flags import Args


def change_spec(spec: dict[str, Any], args: Args) -> None:
    """Write the flags that ``init`` and ``update`` share into a cluster's specification.

    Raises ValueError.
    """
    for name, key, inner, convert in (
        ("task-history-limit", "Orchestration", "TaskHistoryRetentionLimit", int),
        ("max-snapshots", "Raft", "KeepOldSnapshots", unsigned),
        ("snapshot-interval", "Raft", "SnapshotInterval", unsigned),
        ("dispatcher-heartbeat", "Dispatcher", "HeartbeatPeriod", duration),
        ("cert-expiry", "CAConfig", "NodeCertExpiry", duration),
    ):
        if args.given(name):
            part = spec[key] = dict(spec.get(key) or {})
            part[inner] = given(args, name, convert, 0)
    if args.given("external-ca"):
        part = spec["CAConfig"] = dict(spec.get("CAConfig") or {})
        part["ExternalCAs"] = [external_ca(item) for item in args.many("external-ca")]


def external_ca(item: str) -> dict[str, Any]:
    """``protocol=cfssl,url=https://...,cacert=FILE``. Raises ValueError."""
    from sampan.cli.flag_values import csv_fields

    found: dict[str, Any] = {"Options": {}}
    for field in csv_fields(item):
        name, equals, value = field.partition("=")
        name = name.strip().lower()
        if not equals:
            raise ValueError(f"invalid field '{field}' must be a key=value pair")
        if name == "protocol":
            if value.lower() != "cfssl":
                raise ValueError(f"unrecognized external CA protocol {value}")
            found["Protocol"] = "cfssl"
        elif name == "url":
            found["URL"] = value
        elif name == "cacert":
            found["CACert"] = read_pem(value)
        else:
            found["Options"][name] = value
    if "Protocol" not in found:
        raise ValueError("the external-ca option needs a protocol= parameter")
    if "URL" not in found:
        raise ValueError("the external-ca option needs a url= parameter")
    return found


def read_pem(path: str) -> str:
    """The text of a PEM file. Raises ValueError."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read()
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: {error}") from None
    if "-----BEGIN " not in text:
        raise ValueError(f"{path}: file contents must be in PEM format")
    return text
