"""The drivers that come with the daemon: one line each. Plugins add theirs by resolvers."""

from __future__ import annotations

from sampan.config import DaemonConfig
from sampan.engine.drivers import Drivers
from sampan.plugins.plugins import Plugins
from sampan.runtime import files
from sampan.runtime.log_drivers import json_file, local, none
from sampan.runtime.oci_runtimes import crun, runc
from sampan.runtime.oci_runtimes.command_line import CommandLineRuntime
from sampan.store.contract import Store
from sampan.volume import local as local_volumes

ALIASES = {runc.NAME: ("io.containerd.runc.v2",)}
"""containerd's name for the same thing, as clients send it."""


def builtin_drivers(config: DaemonConfig, store: Store) -> Drivers:
    """Every driver of this daemon that is not a plugin."""
    drivers = Drivers()
    drivers.log.register(json_file.NAME, json_file.JsonFile())
    drivers.log.register(local.NAME, local.LocalLog())
    drivers.log.register(none.NAME, none.NoLog())
    drivers.volume.register(local_volumes.NAME, local_volumes.LocalVolumes(config, store))
    root = files.oci_root(config.paths)
    for name, program in config.runtimes.items():
        runtime = CommandLineRuntime(name, program.path, root, program.arguments)
        drivers.runtime.register(name, runtime, *ALIASES.get(name, ()))
    # Where the configuration names a program for it, the built-in one gives way.
    if crun.NAME not in drivers.runtime:
        drivers.runtime.register(crun.NAME, crun.Crun(root))
    if runc.NAME not in drivers.runtime:
        drivers.runtime.register(runc.NAME, runc.Runc(root), *ALIASES[runc.NAME])
    return drivers


async def check_defaults(drivers: Drivers, plugins: Plugins, config: DaemonConfig) -> None:
    """What containers get that name no driver: wrong options are said at the daemon's start and not
    by every container. A plugin has to be there, and is not asked: the start waits for nobody.

    Raises:
        UnknownLogDriver, UnknownRuntime, InvalidArgument.
    """
    name = config.log_driver
    if name in drivers.log or not await plugins.is_there(name):
        drivers.log.get(name).validate(config.log_options)
    await drivers.runtime.find(config.default_runtime)
