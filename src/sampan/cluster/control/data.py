"""Secrets and configs: made once, never changed but for their labels."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence

from msgspec import structs

from sampan.cluster.contract import REFERENCES, Draft
from sampan.cluster.control.names import check_data_name
from sampan.cluster.control.references import users_of_config, users_of_secret
from sampan.cluster.errors import Exists, NotDone, Refused
from sampan.cluster.find import at_version, find
from sampan.cluster.manager_parts import ManagerParts
from sampan.cluster.model import State
from sampan.cluster.records import Config, Secret, Service, new_id
from sampan.cluster.spec import ConfigSpec, Driver, SecretSpec

SECRET_LIMIT = 500 << 10
CONFIG_LIMIT = 1000 << 10
"""Bytes."""


async def create_secret(parts: ManagerParts, spec: SecretSpec) -> str:
    """Seal and store; returns the id.

    Raises:
        Refused, Exists, NotDone.
    """
    check_data_name(spec.name)
    _check_templating(spec.templating)
    if spec.driver is not None and spec.driver.name:
        raise NotDone(
            f"secret driver {spec.driver.name} is not supported: the cluster keeps secrets itself"
        )
    plain = _decoded("secret", spec.data, SECRET_LIMIT)
    id = new_id()
    sealed = parts.sealing.seal(plain, about=id)
    record = Secret(id=id, spec=structs.replace(spec, data="", driver=None), sealed=sealed)

    def draft(draft: Draft) -> None:
        if draft.state.named(Secret, spec.name) is not None:
            raise Exists(f"secret {spec.name} already exists")
        draft.put(record)

    await parts.store.update(draft)
    return id


async def create_config(parts: ManagerParts, spec: ConfigSpec) -> str:
    """Store; returns the id.

    Raises:
        Refused, Exists.
    """
    check_data_name(spec.name)
    _check_templating(spec.templating)
    plain = _decoded("config", spec.data, CONFIG_LIMIT)
    id = new_id()
    # Clients write base64 in several ways; what is stored and compared is one of them.
    data = base64.b64encode(plain).decode()
    record = Config(id=id, spec=structs.replace(spec, data=data))

    def draft(draft: Draft) -> None:
        if draft.state.named(Config, spec.name) is not None:
            raise Exists(f"config {spec.name} already exists")
        draft.put(record)

    await parts.store.update(draft)
    return id


async def update_secret(parts: ManagerParts, ref: str, version: int, spec: SecretSpec) -> None:
    """Labels only; the data may be sent as it is, which is how ``stack deploy`` does it.

    Raises:
        NoSuchObject, OutOfSequence, Refused.
    """

    def draft(draft: Draft) -> None:
        secret = find(draft.state, Secret, ref)
        at_version(draft.state, secret, version)
        same_data = not spec.data or hmac.compare_digest(
            _decoded("secret", spec.data, SECRET_LIMIT),
            parts.sealing.unseal(secret.sealed, about=secret.id),
        )
        if spec.name != secret.name or not same_data or spec.templating != secret.spec.templating:
            raise Refused("only updates to Labels are allowed")
        relabelled = structs.replace(secret.spec, labels=spec.labels)
        draft.put(structs.replace(secret, spec=relabelled, edits=secret.edits + 1))

    await parts.store.update(draft)


async def update_config(parts: ManagerParts, ref: str, version: int, spec: ConfigSpec) -> None:
    """Labels only; the data may be sent as it is.

    Raises:
        NoSuchObject, OutOfSequence, Refused.
    """

    def draft(draft: Draft) -> None:
        config = find(draft.state, Config, ref)
        at_version(draft.state, config, version)
        same_data = not spec.data or (
            _decoded("config", spec.data, CONFIG_LIMIT) == _decode(config.spec.data)
        )
        if spec.name != config.name or not same_data or spec.templating != config.spec.templating:
            raise Refused("only updates to Labels are allowed")
        relabelled = structs.replace(config.spec, labels=spec.labels)
        draft.put(structs.replace(config, spec=relabelled, edits=config.edits + 1))

    await parts.store.update(draft)


async def remove_secret(parts: ManagerParts, ref: str) -> None:
    """Raises: NoSuchObject, Refused (a service uses it)."""

    def draft(draft: Draft) -> None:
        secret = find(draft.state, Secret, ref)
        _check_unused(draft, "secret", secret.name, lambda s: users_of_secret(s, secret.id))
        draft.delete(secret)

    await parts.store.update(draft)


async def remove_config(parts: ManagerParts, ref: str) -> None:
    """Raises: NoSuchObject, Refused (a service uses it)."""

    def draft(draft: Draft) -> None:
        config = find(draft.state, Config, ref)
        _check_unused(draft, "config", config.name, lambda s: users_of_config(s, config.id))
        draft.delete(config)

    await parts.store.update(draft)


def _check_unused(
    draft: Draft, kind: str, name: str, users: Callable[[State], Sequence[Service]]
) -> None:
    draft.serialize(REFERENCES)
    found = users(draft.state)
    if found:
        services = "services" if len(found) > 1 else "service"
        names = ", ".join(service.name for service in found)
        raise Refused(f"{kind} '{name}' is in use by the following {services}: {names}")


def _check_templating(driver: Driver | None) -> None:
    if driver is not None and driver.name not in ("", "golang"):
        raise Refused(f"invalid templating driver {driver.name}: there is golang")


def _decoded(kind: str, data: str, limit: int) -> bytes:
    try:
        plain = _decode(data)
    except (binascii.Error, ValueError) as error:
        raise Refused(f"{kind} data must be base64: {error}") from error
    if not 1 <= len(plain) < limit:
        raise Refused(f"{kind} data must be larger than 0 and less than {limit} bytes")
    return plain


def _decode(data: str) -> bytes:
    plain = data.replace("-", "+").replace("_", "/")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
