"""What a service names: networks, secrets, configs. Names become ids in what is stored.

A change that uses something and one that removes it serialise on ``REFERENCES``: else a secret
could be removed in the very moment that a service begins to use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from msgspec import structs

from sampan.cluster.contract import REFERENCES, Draft, NoSuchObject
from sampan.cluster.errors import LocalNetwork, Precondition, Refused
from sampan.cluster.find import find
from sampan.cluster.model import State
from sampan.cluster.records import ClusterNetwork, Config, Secret, Service
from sampan.cluster.spec import (
    ConfigReference,
    ContainerSpec,
    NetworkAttachmentConfig,
    SecretReference,
    ServiceSpec,
)


@dataclass(frozen=True, slots=True)
class HostNetwork:
    """A network of this host alone, that a service cannot use unless it is predefined."""

    name: str
    predefined: bool


LocalNetworks = Callable[[str], HostNetwork | None]
"""Look a network up on this host by what the user called it."""


def no_local_networks(_: str) -> HostNetwork | None:
    return None


def resolve(draft: Draft, spec: ServiceSpec, local: LocalNetworks) -> ServiceSpec:
    """``spec`` with ids in place of names.

    Raises:
        Refused, NoSuchObject, LocalNetwork, Precondition.
    """
    task = spec.task_template
    container = task.container_spec
    assert container is not None, "checked before"
    if task.networks or container.secrets or container.configs:
        draft.serialize(REFERENCES)
    networks = _networks(draft.state, task.networks, local)
    resolved = structs.replace(
        container,
        secrets=_secrets(draft.state, container),
        configs=_configs(draft.state, container),
    )
    _check_ingress(draft.state, spec)
    task = structs.replace(task, networks=networks, container_spec=resolved)
    return structs.replace(spec, task_template=task)


def _networks(
    state: State, wanted: Iterable[NetworkAttachmentConfig], local: LocalNetworks
) -> tuple[NetworkAttachmentConfig, ...]:
    found: list[NetworkAttachmentConfig] = []
    for one in wanted:
        target = _network(state, one.target, local)
        if any(target == other.target for other in found):
            raise Refused(f"TaskSpec: the network {one.target} is named twice")
        found.append(structs.replace(one, target=target))
    return tuple(found)


def _network(state: State, ref: str, local: LocalNetworks) -> str:
    try:
        network = find(state, ClusterNetwork, ref)
    except NoSuchObject:
        here = local(ref)
        if here is None:
            raise
        if here.predefined:
            return here.name
        raise LocalNetwork(here.name) from None
    if network.spec.ingress:
        raise Refused(
            f'Service cannot be explicitly attached to the ingress network "{network.name}"'
        )
    return network.id


def _secrets(state: State, container: ContainerSpec) -> tuple[SecretReference, ...]:
    found, missing = [], []
    for ref in container.secrets:
        secret = _chosen(state, Secret, ref.secret_id, ref.secret_name)
        if isinstance(secret, Secret):
            found.append(structs.replace(ref, secret_id=secret.id, secret_name=secret.name))
        else:
            missing.append(ref.secret_name or ref.secret_id)
    _none_missing("secret", missing)
    return tuple(found)


def _configs(state: State, container: ContainerSpec) -> tuple[ConfigReference, ...]:
    found, missing = [], []
    for ref in container.configs:
        config = _chosen(state, Config, ref.config_id, ref.config_name)
        if isinstance(config, Config):
            found.append(structs.replace(ref, config_id=config.id, config_name=config.name))
        else:
            missing.append(ref.config_name or ref.config_id)
    _none_missing("config", missing)
    return tuple(found)


def _chosen(
    state: State, kind: type[Secret] | type[Config], id: str, name: str
) -> Secret | Config | None:
    """By id where there is one: then a name that is given, too, must be its own."""
    if not id:
        return state.named(kind, name) if name else None
    found = state.get(kind, id)
    return None if found is None or (name and found.name != name) else found


def _none_missing(kind: str, missing: list[str]) -> None:
    if missing:
        plural = "s" if len(missing) > 1 else ""
        raise Refused(f"{kind}{plural} not found: {', '.join(missing)}")


def _check_ingress(state: State, spec: ServiceSpec) -> None:
    endpoint = spec.endpoint_spec
    if endpoint is None or not any(port.publish_mode == "ingress" for port in endpoint.ports):
        return
    if not any(network.spec.ingress for network in state.networks.values()):
        raise Precondition("service needs ingress network, but no ingress network is present")


# ---------------------------------------------------------------- the other way round


def users_of_secret(state: State, secret_id: str) -> list[Service]:
    """Services whose specification names it, by name."""
    return _users(
        state, lambda spec: any(ref.secret_id == secret_id for ref in _container(spec).secrets)
    )


def users_of_config(state: State, config_id: str) -> list[Service]:
    return _users(
        state, lambda spec: any(ref.config_id == config_id for ref in _container(spec).configs)
    )


def users_of_network(state: State, network: ClusterNetwork) -> list[Service]:
    """Of the ingress network: every service that publishes a port by it."""
    if network.spec.ingress:
        return _users(state, _publishes)
    return _users(
        state,
        lambda spec: any(one.target == network.id for one in spec.task_template.networks),
    )


def _publishes(spec: ServiceSpec) -> bool:
    ports = spec.endpoint_spec.ports if spec.endpoint_spec is not None else ()
    return any(port.publish_mode != "host" for port in ports)


def _container(spec: ServiceSpec) -> ContainerSpec:
    return spec.task_template.container_spec or ContainerSpec()


def _users(state: State, uses: Callable[[ServiceSpec], bool]) -> list[Service]:
    found = [service for service in state.services.values() if uses(service.spec)]
    return sorted(found, key=lambda service: service.name)
