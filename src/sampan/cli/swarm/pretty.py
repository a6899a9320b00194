"""``--pretty`` of nodes, secrets and configs. Pure."""

from __future__ import annotations

from sampan.units import binary_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any


def node_text(node: Mapping[str, Any]) -> str:
    """The node for people."""
    return "\n".join(_node(node))


def _moment(text: str) -> str:
    return text.replace("T", " ").replace("Z", " +0000 utc")


def _node(node: Mapping[str, Any]) -> Iterator[str]:
    spec, seen = node["Spec"], node.get("Description") or {}
    yield f"ID:\t\t\t{node['ID']}"
    if spec.get("Name"):
        yield f"Name:\t\t\t{spec['Name']}"
    if spec.get("Labels"):
        yield "Labels:"
        yield from (f" - {name}={value}" for name, value in sorted(spec["Labels"].items()))
    yield f"Hostname:              \t{seen.get('Hostname', '')}"
    yield f"Joined at:             \t{_moment(node.get('CreatedAt', ''))}"
    status = node.get("Status") or {}
    yield "Status:"
    yield f" State:\t\t\t{str(status.get('State', '')).title()}"
    if status.get("Message"):
        yield f" Message:\t\t{status['Message']}"
    yield f" Availability:         \t{str(spec.get('Availability', '')).title()}"
    yield f" Address:\t\t{status.get('Addr', '')}"
    manager = node.get("ManagerStatus")
    if manager:
        yield "Manager Status:"
        yield f" Address:\t\t{manager.get('Addr', '')}"
        yield f" Raft Status:\t\t{str(manager.get('Reachability', '')).title()}"
        yield f" Leader:\t\t{'Yes' if manager.get('Leader') else 'No'}"
    yield from _host(seen)


def _host(seen: Mapping[str, Any]) -> Iterator[str]:
    platform, resources = seen.get("Platform") or {}, seen.get("Resources") or {}
    yield "Platform:"
    yield f" Operating System:\t{platform.get('OS', '')}"
    yield f" Architecture:\t\t{platform.get('Architecture', '')}"
    yield "Resources:"
    yield f" CPUs:\t\t\t{resources.get('NanoCPUs', 0) / 1e9:g}"
    yield f" Memory:\t\t{binary_size(resources.get('MemoryBytes', 0))}"
    engine = seen.get("Engine") or {}
    plugins: dict[str, list[str]] = {}
    for plugin in engine.get("Plugins") or ():
        plugins.setdefault(plugin["Type"], []).append(plugin["Name"])
    if plugins:
        yield "Plugins:"
        for kind, names in sorted(plugins.items()):
            yield f" {kind}:\t\t{', '.join(names)}"
    yield f"Engine Version:\t\t{engine.get('EngineVersion', '')}"
    if engine.get("Labels"):
        yield "Engine Labels:"
        yield from (f" - {name}={value}" for name, value in sorted(engine["Labels"].items()))
    tls = seen.get("TLSInfo") or {}
    if tls.get("TrustRoot"):
        yield "TLS Info:"
        yield f" TrustRoot:\n{tls['TrustRoot']}"
        yield f" Issuer Subject:\t{tls.get('CertIssuerSubject', '')}"
        yield f" Issuer Public Key:\t{tls.get('CertIssuerPublicKey', '')}"


def stored_text(item: Mapping[str, Any], kind: str) -> str:
    """A secret or config (``kind``) for people; a config with its content."""
    spec = item["Spec"]
    lines = [f"ID:\t\t\t{item['ID']}", f"Name:\t\t\t{spec['Name']}"]
    if spec.get("Labels"):
        lines += ["Labels:"]
        lines += [f" - {name}={value}" for name, value in sorted(spec["Labels"].items())]
    if kind == "secret":
        lines.append(f"Driver:\t\t\t{(spec.get('Driver') or {}).get('Name', '')}".rstrip())
    lines.append(f"Created at:            \t{_moment(item.get('CreatedAt', ''))}")
    lines.append(f"Updated at:            \t{_moment(item.get('UpdatedAt', ''))}")
    if kind == "config":
        from base64 import b64decode

        data = b64decode(spec.get("Data") or "").decode("utf-8", "replace")
        lines += ["Data:", data.rstrip("\n")]
    return "\n".join(lines)
