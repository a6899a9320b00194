"""sampan: containers on one host, one application from one file, one application on many hosts.

The package is layered; imports only ever point downwards (``tests/test_import_direction.py``):

    cli, compose  -> client                         (they know the engine only through its API)
    api           -> engine, build
    engine, build -> image, runtime, network, volume
    those         -> store, kernel
    everything    -> errors, aio, config
"""

__version__ = "0.1.0"
