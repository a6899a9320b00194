"""sampan: containers on one host, one application from one file, one application on many hosts.

The package is layered; imports only ever point downwards (``tests/test_import_direction.py``,
which draws the floors inside the packages, too):

    cli -> compose -> client                        (they know the engine only through its API)
    api -> http                                     Docker's front, on a floor that knows no Docker
    api -> cluster, plugins, engine, build          the daemon, put together in ``api.wiring``
    cluster -> engine, image, network, http         many hosts
    plugins -> runtime, network, volume             drivers that third parties ship
    engine, build -> image, runtime, network, volume
    image, runtime, network, volume -> store, kernel
    everything -> errors, aio, config, drivers (the registries) and the other single modules

``testing`` has the fakes and the contract suites. Start to read at ``docs/design/map.md``.
"""

__version__ = "0.1.0"
