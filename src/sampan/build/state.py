"""What a stage has come to after a step: a config and a stack of layers. Frozen.

``key`` names everything that led here, so that the next step's cache key can build on it: after a
step with a layer it is that layer's image, after metadata it is a hash over the key before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from sampan.image.config import chain_id, encode_config, rfc3339
from sampan.image.contract import ImageConfig
from sampan.store.records import Image

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageState:
    config: ImageConfig
    key: str
    image_id: str = ""
    """The newest image on the way here; empty on top of ``scratch``."""
    args: dict[str, str] = field(default_factory=dict)
    """``ARG``s declared so far that have a value."""
    late_args: frozenset[str] = frozenset()
    """Those that were declared after an ``ENV`` of their name: they win in the steps that follow,
    and the image keeps the ``ENV`` (so since BuildKit)."""
    cmd_set: bool = False
    """This stage said ``CMD``: an ``ENTRYPOINT`` then leaves it alone."""
    fresh: bool = False
    """Metadata has been added since ``image_id``."""

    @property
    def chain_id(self) -> str:
        return chain_id(self.config.diff_ids)

    @property
    def env(self) -> dict[str, str]:
        return dict(split_env(item) for item in self.config.env)

    @property
    def variables(self) -> dict[str, str]:
        """What ``$NAME`` means here: of ``ENV`` and ``ARG`` the later one wins."""
        late = {name: self.args[name] for name in self.late_args}
        return {**self.args, **self.env, **late}

    @property
    def shell(self) -> tuple[str, ...]:
        return self.config.shell or DEFAULT_SHELL

    def on(self, image: Image, config: ImageConfig) -> StageState:
        """The same stage, now standing on ``image``."""
        return replace(self, config=config, key=image.id, image_id=image.id, fresh=False)


def split_env(item: str) -> tuple[str, str]:
    name, _, value = item.partition("=")
    return name, value


def with_env(env: tuple[str, ...], pairs: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """Set variables, each in the place where its name already stands."""
    merged = dict(split_env(item) for item in env)
    merged.update(pairs)
    return tuple(f"{name}={value}" for name, value in merged.items())


def from_image(image: Image, config: ImageConfig) -> StageState:
    """A stage's start. As with Docker an image without ``PATH`` gets the usual one."""
    if not any(item.startswith("PATH=") for item in config.env):
        config = replace(config, env=(*config.env, f"PATH={DEFAULT_PATH}"))
    return StageState(config=config, key=image.id, image_id=image.id)


def from_scratch(os_name: str, architecture: str, variant: str) -> StageState:
    config = ImageConfig(
        architecture=architecture, os=os_name, variant=variant, env=(f"PATH={DEFAULT_PATH}",)
    )
    return StageState(config=config, key=f"scratch/{os_name}/{architecture}/{variant}")


def digest(*parts: str) -> str:
    """One key out of several; no two different lists of parts collide."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode(errors="surrogateescape")
        whole.update(b"%d:" % len(data))
        whole.update(data)
    return whole.hexdigest()


def with_history(
    config: ImageConfig, *, created: float, created_by: str, diff_id: str = "", comment: str = ""
) -> ImageConfig:
    """One more line of ``docker history``, and a layer when ``diff_id`` is given."""
    entry: dict[str, object] = {"created": rfc3339(created), "created_by": created_by}
    if config.author:
        entry["author"] = config.author
    if comment:
        entry["comment"] = comment
    if not diff_id:
        entry["empty_layer"] = True
    return replace(
        config,
        created=rfc3339(created),
        history=(*config.history, entry),
        diff_ids=(*config.diff_ids, diff_id) if diff_id else config.diff_ids,
    )


def render(config: ImageConfig) -> dict[str, object]:
    """The complete OCI image config; what is empty is left out, as Docker does."""
    run: dict[str, object] = {}
    for name, value in (
        ("User", config.user),
        ("Env", list(config.env)),
        ("Cmd", _list(config.cmd)),
        ("WorkingDir", config.working_dir),
        ("Entrypoint", _list(config.entrypoint)),
        ("Labels", config.labels),
        ("ExposedPorts", {port: {} for port in config.exposed_ports}),
        ("Volumes", {path: {} for path in config.volumes}),
        ("StopSignal", config.stop_signal),
        ("Shell", _list(config.shell)),
        ("OnBuild", _list(config.on_build)),
        ("Healthcheck", config.healthcheck),
    ):
        if value or (name in ("Cmd", "Entrypoint") and value is not None):
            run[name] = value
    whole: dict[str, object] = {"architecture": config.architecture, "os": config.os}
    for name, text in (
        ("variant", config.variant),
        ("author", config.author),
        ("created", config.created),
    ):
        if text:
            whole[name] = text
    whole["config"] = run
    whole["rootfs"] = {"type": "layers", "diff_ids": list(config.diff_ids)}
    whole["history"] = list(config.history)
    return whole


def provisional_id(config: ImageConfig) -> str:
    """The id that an image with this config would have: for ``---> 1a2b3c4d5e6f`` after a step
    that makes no image of its own."""
    return encode_config(render(config))[0]


def _list(value: tuple[str, ...] | None) -> list[str] | None:
    return None if value is None else list(value)
