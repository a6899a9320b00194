"""How nodes talk to each other: HTTP/1.1 and WebSockets over mutual TLS, on port 2377 of each.

A *call* is one typed question and its answer, a *stream* a reply as it comes, a *socket* a channel
of messages both ways. *Identity*: what a caller's verified certificate says of it. ``Allow`` says
who may ask a route: anyone, nodes, managers. An *unknown peer* is a connection that is not known to
be a node's; the *gate* counts what unknown peers cost, before the handshake.
"""
