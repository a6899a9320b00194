"""The tables of keys: they agree with the dataclasses, and know the whole specification."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sampan.compose.file.load import LoadRequest, load
from sampan.compose.file.schema_types import ListOf, MapOf, Obj, Shape, alternatives
from sampan.compose.model.create_request import container_body, network_body, volume_body
from sampan.compose.model.read_project import read
from sampan.compose.model.schema import TOP, cluster_top
from sampan.compose.model.sections import BUILD, CLUSTER
from sampan.compose.model.service_keys import SERVICE
from sampan.compose.model.table import Elsewhere, Ignored, Key, NoEffect, RefusedKey, Section
from sampan.compose.model.top_keys import TOP as TABLE
from sampan.compose.stack.read import read_stack
from sampan.compose.stack.spec import file_spec, service_spec
from sampan.compose.stack.spec import network_body as cluster_network
from sampan.errors import SampanError

SPECIFICATION = Path(__file__).parents[4] / "shared" / "specs" / "compose-spec.schema.json"
_LOCATION = {"name", "where", "network", "key"}
"""Fields that hold the key under which the mapping stands, and where it was written."""


def sections(section: Section = TABLE, path: str = "") -> Iterator[tuple[str, Section]]:
    yield path, section
    for key in section.keys:
        if key.kind.section is not None:
            yield from sections(key.kind.section, f"{path}.{key.name}".strip("."))


def lines() -> Iterator[tuple[str, Key]]:
    for path, section in sections():
        for key in section.keys:
            yield f"{path}.{key.name}".strip("."), key


SECTIONS = dict(sections())


@pytest.mark.parametrize("path", SECTIONS)
def test_each_key_has_a_field_of_its_type_and_each_field_a_key(path: str) -> None:
    section = SECTIONS[path]
    types: dict[str, str] = dict(getattr(section.make, "__annotations__", {}))
    fed: set[str] = set()
    for key in section.keys:
        if (name := key.kept_in) is not None:
            said = str(getattr(types[name], "__forward_arg__", types[name]))
            assert said.removesuffix(" | None") == key.kind.type, f"{path}.{key.name}"
            assert name not in fed, f"{path}: two keys feed the field {name}"
            fed.add(name)
    if fed:
        assert set(types) - fed - _LOCATION <= elsewhere(path)


def elsewhere(path: str) -> set[str]:
    """Fields of a type that two sections share (limits and reservations)."""
    shared = {"limits": {"generic", "devices"}, "reservations": {"pids"}}
    return shared.get(path.rpartition(".")[2], set())


def test_what_is_not_honoured_gives_a_reason() -> None:
    for path, key in lines():
        for target in (key.engine, key.cluster):
            if isinstance(target, NoEffect | RefusedKey):
                assert len(target.reason.split()) > 2, path


# The page for users -----------------------------------------------------------------------------

PAGE = Path(__file__).parents[3] / "docs" / "compose-keys.md"
_MARK = "| key | on one host | on a cluster |\n|---|---|---|\n"


def page() -> str:
    """The table of docs/compose-keys.md."""
    rows = []
    for path, section in sections():
        if path == "configs":
            continue  # as secrets
        for key in section.keys:
            top, dot, rest = f"{path}.{key.name}".strip(".").partition(".")
            name = f"{top}.NAME.{rest}" if dot else top
            host, cluster = key.engine, key.cluster
            one = "with its section" if host is CLUSTER else "yes"
            if isinstance(host, NoEffect):
                one = f"a warning: {host.reason}"
            elif isinstance(host, RefusedKey):
                one = f"refused: {host.reason}"
            many = "yes"
            if isinstance(cluster, Ignored):
                many = (
                    "deprecated, ignored with a warning"
                    if cluster.deprecated
                    else "ignored with a warning"
                )
            rows.append(f"| `{name}` | {one} | {many} |")
    return _MARK + "\n".join(rows) + "\n"


def test_the_page_of_keys_is_what_the_tables_say() -> None:
    _, mark, table = PAGE.read_text().partition(_MARK)
    assert mark + table == page(), f"write this into {PAGE.name}:\n{page()}"


# What the specification knows, against the tables ---------------------------------------------


def definitions() -> dict[str, Any]:
    if not SPECIFICATION.is_file():
        pytest.skip("the specification's schema is not there")
    found: dict[str, Any] = json.loads(SPECIFICATION.read_text())
    return found


def walk(
    schema: dict[str, Any], node: dict[str, Any], path: tuple[str, ...], seen: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """(path, schema) of every key; ``*`` is a user's word, ``[]`` an item of a list."""
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name not in seen:
            known = schema.get("definitions") or schema["$defs"]
            yield from walk(schema, known[name], path, (*seen, name))
        return
    for word in ("oneOf", "anyOf", "allOf"):
        for option in node.get(word, ()):
            yield from walk(schema, option, path, seen)
    for key, below in node.get("properties", {}).items():
        yield (*path, key), below
        yield from walk(schema, below, (*path, key), seen)
    for pattern, below in node.get("patternProperties", {}).items():
        if not pattern.startswith("^x-"):
            yield from walk(schema, below, (*path, "*"), seen)
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(schema, node["additionalProperties"], (*path, "*"), seen)
    if isinstance(node.get("items"), dict):
        yield from walk(schema, node["items"], (*path, "[]"), seen)


def keys_of_the_specification() -> dict[tuple[str, ...], dict[str, Any]]:
    schema = definitions()
    return dict(walk(schema, schema, ()))


def reachable(shape: Shape, path: tuple[str, ...]) -> bool:
    """Whether a file may have a key at ``path``; what is not looked into may hold anything."""
    if not path:
        return True
    word, rest = path[0], path[1:]
    below: list[Shape] = []
    for option in alternatives(shape):
        if isinstance(option, Obj) and word in option.keys:
            below.append(option.keys[word])
        elif isinstance(option, MapOf) and word != "[]":
            below.append(option.value)
        elif isinstance(option, ListOf) and word == "[]":
            below.append(option.item)
    return any(reachable(option, rest) for option in below)


def unread(path: tuple[str, ...]) -> bool:
    """Below a key that is refused or warned about as a whole."""
    section: Section | None = TABLE
    for word in path:
        if word in ("*", "[]"):
            continue
        key = next((k for k in section.keys if k.name == word), None) if section else None
        if key is None:
            return False
        if isinstance(key.engine, NoEffect | RefusedKey):
            return True
        section = key.kind.section
    return False


def test_every_key_of_the_specification_is_in_a_table() -> None:
    shape = TABLE.shape()
    missing = [
        ".".join(path)
        for path in keys_of_the_specification()
        if not reachable(shape, path) and not unread(path)
    ]
    assert not missing


def test_no_table_has_a_key_that_the_specification_lacks() -> None:
    known = {tuple(w for w in p if w not in ("*", "[]")) for p in keys_of_the_specification()}
    # Both kinds of files share one table; a config has no driver.
    extra = {("configs", "driver"), ("configs", "driver_opts"), ("secrets", "content")}
    ours = {tuple(path.split(".")) for path, _ in lines()}
    assert ours - known - extra == set()


# Nothing is accepted and dropped ---------------------------------------------------------------

BASE: dict[str, Any] = {
    "name": "p",
    "services": {"web": {"image": "nginx"}, "db": {"image": "redis"}},
    "networks": {"n": {}},
    "volumes": {"v": {}},
    "secrets": {"s": {"content": "a"}},
    "configs": {"c": {"content": "a"}},
}
USED = {"web": {"networks": ["n"], "volumes": ["v:/v"], "secrets": ["s"], "configs": ["c"]}}
"""What the top level defines counts when something uses it."""
PARENTS: dict[str, Any] = {
    "services.*.ports.[]": {"target": 80},
    "services.*.volumes.[]": {"type": "volume", "target": "/d"},
    "services.*.volumes.[].bind": {"type": "bind", "source": "/s", "target": "/d"},
    "services.*.volumes.[].volume": {"type": "volume", "source": "v", "target": "/d"},
    "services.*.volumes.[].tmpfs": {"type": "tmpfs", "target": "/d"},
    "services.*.volumes.[].image": {"type": "image", "source": "i", "target": "/d"},
    "services.*.secrets.[]": {"source": "s"},
    "services.*.configs.[]": {"source": "c"},
    "services.*.devices.[]": {"source": "/dev/null"},
    "services.*.blkio_config.weight_device.[]": {"path": "/dev/a", "weight": 9},
    "services.*.deploy.resources.reservations.devices.[]": {"capabilities": ["x"]},
    "services.*.gpus.[]": {"capabilities": ["x"]},
    "services.*.env_file.[]": {"path": "x.env"},
    "services.*.env_file.[].required": {"path": "gone.env"},
    "services.*.ulimits.*": {"soft": 4, "hard": 8},
    "services.*.healthcheck": {"test": ["CMD", "x"]},
    "services.*.build": {"context": "."},
    "services.*.extends": {"service": "db"},
    "networks.*.ipam.config.[]": {"subnet": "10.0.0.0/8"},
    "include.[]": {"path": "more.yaml"},
}
for _which in ("bps", "iops"):
    for _way in ("read", "write"):
        PARENTS[f"services.*.blkio_config.device_{_way}_{_which}.[]"] = {"path": "/a", "rate": 9}
KEYS = {
    "services.*.networks.*": "n",
    "services.*.depends_on.*": "db",
    "networks.*": "n",
    "volumes.*": "v",
    "secrets.*": "s",
    "configs.*": "c",
    "services.*": "web",
}
VALUES: dict[str, Any] = {
    "version": "3",
    "name": "other",
    "include": ["more.yaml"],
    "include.[].env_file": "more.env",
    "include.[].project_directory": "sub",
    "services.*.attach": False,
    "services.*.cgroup": "host",
    "services.*.configs": ["c"],
    "services.*.cpuset": "0",
    "services.*.depends_on": ["db"],
    "services.*.depends_on.*.condition": "service_healthy",
    "services.*.depends_on.*.required": False,
    "services.*.deploy.endpoint_mode": "dnsrr",
    "services.*.deploy.mode": "global",
    "services.*.deploy.resources.limits.cpus": "0.5",
    "services.*.deploy.resources.reservations.cpus": "0.5",
    "services.*.deploy.restart_policy.condition": "on-failure",
    "services.*.deploy.rollback_config.failure_action": "continue",
    "services.*.deploy.rollback_config.order": "start-first",
    "services.*.deploy.update_config.failure_action": "rollback",
    "services.*.deploy.update_config.order": "start-first",
    "services.*.devices": ["/dev/null"],
    "services.*.env_file": ["x.env"],
    "services.*.environment": {"K": "w"},
    "services.*.env_file.[].format": "raw",
    "services.*.env_file.[].path": "y.env",
    "services.*.env_file.[].required": False,
    "services.*.expose": ["5000-5001"],
    "services.*.extends": "db",
    "services.*.extends.file": "more.yaml",
    "services.*.extends.service": "other",
    "services.*.gpus": "all",
    "services.*.group_add": ["5"],
    "services.*.healthcheck.test": ["CMD", "y"],
    "services.*.label_file": ["x.env"],
    "services.*.network_mode": "host",
    "services.*.networks": ["n"],
    "services.*.ports": ["80"],
    "services.*.ports.[].target": 81,
    "services.*.ports.[].published": "8080",
    "services.*.ports.[].mode": "host",
    "services.*.ports.[].protocol": "udp",
    "services.*.profiles": ["q"],
    "services.*.pull_policy": "always",
    "services.*.restart": "always",
    "services.*.secrets": ["s"],
    "services.*.volumes": ["/x"],
    "services.*.volumes.[].bind.create_host_path": False,
    "services.*.volumes.[].bind.propagation": "rshared",
    "services.*.volumes.[].bind.selinux": "z",
    "services.*.volumes.[].type": "tmpfs",
    "services.*.volumes.[].source": "v",
    "services.*.volumes.[].target": "/e",
    "services.*.volumes_from": ["db"],
    "services.*.ulimits": {"nofile": 5},
    "services.*.devices.[].source": "/dev/zero",
    "services.*.devices.[].target": "/dev/word",
    "services.*.secrets.[].source": "s2",
    "services.*.configs.[].source": "c2",
    "services.*.build": ".",
    "secrets.*.environment": "OUT",
    "configs.*.environment": "OUT",
    "secrets.*.file": "x.env",
    "configs.*.file": "x.env",
    "networks.*.driver": "macvlan",
    "networks.*.external": True,
    "volumes.*.external": True,
    "secrets.*.external": True,
    "configs.*.external": True,
}
DURATIONS = {"interval", "timeout", "start_period", "start_interval", "delay", "monitor", "window"}
WITHOUT: dict[str, tuple[str, ...]] = {
    "services.*.build": ("image",),
    "services.*.extends": ("image",),
    "secrets.*.environment": ("content",),
    "secrets.*.file": ("content",),
    "configs.*.environment": ("content",),
    "configs.*.file": ("content",),
}


def sample(path: tuple[str, ...], node: dict[str, Any], schema: dict[str, Any]) -> Any:
    """A value for the key at ``path`` that is not what goes without saying."""
    name = ".".join(path)
    if name in VALUES:
        return VALUES[name]
    if path[-1] in DURATIONS or path[-1] == "stop_grace_period":
        return "7s"
    while "$ref" in node:
        known = schema.get("definitions") or schema["$defs"]
        node = known[node["$ref"].rpartition("/")[2]]
    for word in ("oneOf", "anyOf", "allOf"):
        if word in node:
            return sample(path, node[word][-1], schema)
    kind = node.get("type", "string")
    kinds = [kind] if isinstance(kind, str) else kind
    if "object" in kinds:
        inner = {}
        for key, below in node.get("properties", {}).items():
            inner[key] = sample((*path, key), below, schema)
            break
        return inner or {"k": "w"}
    if "array" in kinds:
        return [sample((*path, "[]"), node.get("items", {}), schema)]
    if "boolean" in kinds:
        return True
    return 7 if {"integer", "number"} & set(kinds) else "word"


def document(path: tuple[str, ...], value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A file without and one with ``value`` at ``path``."""
    top = copy.deepcopy(BASE)
    if path[-1] == "priority":  # it orders several
        top["services"]["web"]["networks"] = {"default": {}}
    if path[0] in ("networks", "volumes", "secrets", "configs"):
        for name, more in USED.items():
            top["services"][name].update(copy.deepcopy(more))
    if path[0] in ("secrets", "configs"):
        top[path[0]][path[0][0]] = {"content": "a"}
    holder: Any = top
    done: list[str] = []
    for word in path[:-1]:
        done.append(word)
        name = ".".join(done)
        parent = PARENTS.get(name)
        if word == "*":
            key = KEYS.get(name, "nofile" if "ulimits" in done else "word")
            holder = holder.setdefault(key, copy.deepcopy(parent) or {})
        elif word == "[]":
            own = PARENTS.get(".".join(path))
            below = own or PARENTS.get(".".join(path[: len(done) + 1]), parent)
            holder.append(
                copy.deepcopy(below if own or len(done) + 1 < len(path) else parent) or {}
            )
            holder = holder[0]
        else:
            following = path[len(done)] if len(done) < len(path) else ""
            usual: Any = [] if following == "[]" else copy.deepcopy(parent) or {}
            if word in ("bind", "volume", "tmpfs", "image") and "volumes" in done[:-1]:
                usual = {}
            holder = holder.setdefault(word, usual)
    before = copy.deepcopy(top)
    for gone in WITHOUT.get(".".join(path), ()):
        holder.pop(gone, None)
    holder[path[-1]] = value
    return before, top


class Outcome:
    """All that follows from a file, and what is said about it."""

    def __init__(self, told: str, warnings: str, error: str) -> None:
        self.told, self.warnings, self.error = told, warnings, error


def requests_of(project: Any) -> list[Any]:
    made: list[Any] = [network_body(project, one) for one in project.networks.values()]
    made += [volume_body(project, one) for one in project.volumes.values()]
    for service in project.services.values():
        made.append(container_body(project, service, "x", {}, keep_volumes={}, containers={}))
        if service.build is not None:
            made.append(BUILD.request(service.build, None))
    return made


def on_one_host(folder: Path, text: str) -> Outcome:
    (folder / "compose.yaml").write_text(text)
    try:
        loaded = load(LoadRequest(cwd=str(folder)), {"OUT": "out"}, TOP)
        project = read(loaded, ())
        told = json.dumps(requests_of(project), sort_keys=True)
    except SampanError as error:
        return Outcome("", "", str(error))
    # What goes to the engine must be in a request; what others honour must be in the model.
    others = [k.kept_in for k in SERVICE.keys if isinstance(k.engine, Elsewhere) and k.kept_in]
    kept = repr([[getattr(s, name) for name in others] for s in project.services.values()])
    everything = f"{project.name}{told}{kept}{project.disabled.keys()}{project.networks}"
    everything += f"{project.volumes}{project.secrets}{project.configs}"
    return Outcome(everything, "\n".join((*loaded.warnings, *project.warnings)), "")


def on_a_cluster(folder: Path, text: str) -> Outcome:
    (folder / "compose.yaml").write_text(text)
    request = LoadRequest(cwd=str(folder), project="stack")
    try:
        loaded = load(request, {"OUT": "out"}, cluster_top())
        stack = read_stack("app", loaded)
        made: list[Any] = [service_spec(stack, s, {}, {}) for s in stack.services.values()]
        made += [cluster_network(stack, one) for one in stack.networks.values()]
        made += [file_spec(stack, f) for f in (*stack.secrets.values(), *stack.configs.values())]
    except SampanError as error:
        return Outcome("", "", str(error))
    files = [(f.name, f.external) for f in (*stack.secrets.values(), *stack.configs.values())]
    told = f"{json.dumps(made)}{stack.volumes}{files}{stack.networks}"
    return Outcome(told, " ".join((*stack.ignored, *stack.deprecated)), "")


NOTES = {
    "version",
    "services.*.ports.[].app_protocol",
    "services.*.ports.[].mode",
    "services.*.ports.[].name",
}
"""Told to nobody: the specification calls ``version`` obsolete and the name and protocol of a port
notes for readers, which ``config`` keeps; and one host has one mode of ports."""
NOT_FOR_CLUSTERS = {"name", "version", "models", "include.[].project_directory"}


def honoured(before: Outcome, after: Outcome, path: tuple[str, ...]) -> bool:
    """Something follows from the key, or what is said names it or the section that it is in."""
    said = f"{after.error} {after.warnings}"
    words = [word for word in path if word not in ("*", "[]", "services")]
    return after.told != before.told or any(word in said for word in words)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x.env").write_text('E="1"\n')
    (tmp_path / "y.env").write_text("F=2\n")
    (tmp_path / "more.env").write_text("WORD=more\n")
    (tmp_path / "sub").mkdir()
    (tmp_path / "more.yaml").write_text(
        "services:\n  db: {image: 'other', user: u, build: .}\n  other: {image: '${WORD:-o}'}\n"
    )
    return tmp_path


@pytest.mark.parametrize("where", ["host", "cluster"])
def test_every_key_takes_effect_or_is_named(where: str, folder: Path) -> None:
    schema = definitions()
    look = on_one_host if where == "host" else on_a_cluster
    dropped = []
    for path, node in keys_of_the_specification().items():
        name = ".".join(path)
        if name in NOTES or (where == "cluster" and name in NOT_FOR_CLUSTERS):
            continue
        before, after = document(path, sample(path, node, schema))
        first, second = (look(folder, json.dumps(one)) for one in (before, after))
        if not honoured(first, second, path):
            dropped.append(f"{name}: {json.dumps(after)[:300]} {second.warnings}")
    assert not dropped, "\n".join(dropped)
