"""The keys at the top of a file, and those of networks, volumes, secrets and configs."""

from __future__ import annotations

from typing import Any

from sampan.compose.file import forms
from sampan.compose.file.schema_types import (
    ANYTHING,
    BOOLEAN,
    NULL,
    SCALAR,
    STRING,
    STRING_OR_LIST,
    Form,
    ListOf,
    MapOf,
    Obj,
)
from sampan.compose.model import readers
from sampan.compose.model.kinds import OPTIONS, PAIRS, SHOWN_WHEN_ON, TEXT, unread
from sampan.compose.model.project import FileSource, Network, Volume
from sampan.compose.model.sections import COMPOSE, IGNORED, READER
from sampan.compose.model.service_keys import LOADER, REQUEST, SERVICE
from sampan.compose.model.table import Key, Kind, NoEffect, Section, section_kind
from sampan.compose.model.values import Ipam, Pool

EXTERNAL = Kind((BOOLEAN, Obj({"name": STRING})), readers.external, "bool", SHOWN_WHEN_ON.show)

# fmt: off
POOL = Section(Pool, (
    Key("subnet", TEXT, "Subnet", "Subnet"),
    Key("ip_range", TEXT, "IPRange", "IPRange"),
    Key("gateway", TEXT, "Gateway", "Gateway"),
    Key("aux_addresses", Kind(MapOf(STRING), OPTIONS.read, "Mapping[str, str]"),
        "AuxiliaryAddresses", "AuxiliaryAddresses"),
))
IPAM = Section(Ipam, (
    Key("driver", TEXT, "Driver", "Driver"),
    Key("config", section_kind(
            POOL, "tuple[Pool, ...]", wrap=ListOf,
            read=lambda cur, reading: tuple(POOL.read(item, reading.variables) for item in cur),
            show=lambda value: [POOL.data(pool) for pool in value]),
        lambda value, _: [("Config", [POOL.request(pool, None) for pool in value])],
        lambda value, _: [("Config", [POOL.request(pool, None) for pool in value])], "pools"),
    Key("options", OPTIONS, "Options", "Options"),
))
NETWORK = Section(Network, (
    Key("name", TEXT, COMPOSE, COMPOSE),
    Key("external", EXTERNAL, COMPOSE, COMPOSE),
    Key("driver", TEXT, "Driver", "Driver"),
    Key("driver_opts", OPTIONS, "Options", "Options"),
    Key("ipam", section_kind(IPAM, "Ipam"), "IPAM", "IPAM"),
    Key("internal", SHOWN_WHEN_ON, "Internal", "Internal"),
    Key("attachable", SHOWN_WHEN_ON, "Attachable", "Attachable"),
    Key("enable_ipv4", unread(BOOLEAN), NoEffect("every network has IPv4 here"), IGNORED, None),
    Key("enable_ipv6", SHOWN_WHEN_ON, "EnableIPv6", "EnableIPv6"),
    Key("labels", PAIRS, REQUEST, REQUEST),
))
VOLUME = Section(Volume, (
    Key("name", TEXT, COMPOSE, COMPOSE),
    Key("external", EXTERNAL, COMPOSE, COMPOSE),
    Key("driver", TEXT, "Driver", REQUEST),
    Key("driver_opts", OPTIONS, "DriverOpts", REQUEST),
    Key("labels", PAIRS, REQUEST, REQUEST),
))
_CLUSTER_ONLY = NoEffect("it is for clusters, where `stack deploy` honours it")
FILE_KEYS = (
    Key("name", TEXT, COMPOSE, COMPOSE),
    Key("external", EXTERNAL, COMPOSE, COMPOSE),
    Key("file", Kind(STRING, TEXT.read, "str", form=Form(forms.path)), COMPOSE, COMPOSE, "path"),
    Key("environment", unread(STRING), READER, READER, None),
    Key("content", TEXT, COMPOSE, COMPOSE),
    Key("labels", PAIRS, _CLUSTER_ONLY, REQUEST),
    Key("driver", TEXT, _CLUSTER_ONLY, "Driver.Name"),
    Key("driver_opts", OPTIONS, _CLUSTER_ONLY, "Driver.Options"),
    Key("template_driver", TEXT, _CLUSTER_ONLY, "Templating.Name"),
)
SECRET = Section(FileSource, FILE_KEYS)
CONFIG = Section(FileSource, FILE_KEYS)
INCLUDE = ListOf((STRING, Obj({
    "path": STRING_OR_LIST, "env_file": STRING_OR_LIST, "project_directory": STRING,
})))
_MODELS = NoEffect("no models are run: give their address in `environment`")


def _map_of(section: Section, *more: Any) -> Kind:
    return section_kind(section, "None", wrap=lambda obj: MapOf((obj, *more) if more else obj))


TOP = Section(dict, (
    Key("version", unread(SCALAR), LOADER, LOADER, None),
    Key("name", unread(STRING), LOADER, LOADER, None),
    Key("include", unread(INCLUDE), LOADER, LOADER, None),
    Key("services", _map_of(SERVICE), COMPOSE, COMPOSE, None),
    Key("networks", _map_of(NETWORK, NULL), COMPOSE, COMPOSE, None),
    Key("volumes", _map_of(VOLUME, NULL), COMPOSE, COMPOSE, None),
    Key("secrets", _map_of(SECRET), COMPOSE, COMPOSE, None),
    Key("configs", _map_of(CONFIG), COMPOSE, COMPOSE, None),
    Key("models", unread(ANYTHING), _MODELS, IGNORED, None),
))
# fmt: on
