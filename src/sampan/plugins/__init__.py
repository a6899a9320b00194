"""Docker's plugin protocol, version 1: drivers that are processes of somebody else.

discovery   where a plugin of a name listens: sockets and specification files
wire        what travels: requests, answers, errors; no input or output
client      one plugin: one HTTP request a call, with Docker's patience
plugins     which plugins were used, each activated once
log_entry   the stream of log entries: length and protobuf
authz       the chain of plugins that every API request passes
volume_driver, network_driver, ipam_driver, log_driver
            the drivers of the engine's registries that a plugin stands behind
"""
