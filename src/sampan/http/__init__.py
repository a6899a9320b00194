"""HTTP for every front of sampan, and no word of what any of them says.

    front       what a front is, as data: routes, error form, headers, version rule, guards, limits
    router      method and path to a handler; compiled once for each front
    server      one front, listening: dispatch, errors, hang-ups
    connection  one client's connection; raw where a request may be hijacked
    context     one request on its way through a handler
    decode      JSON bodies, read as Go reads them
    hijack      a connection that has become a byte stream
    tls         TLS that can be half-closed
    sockets     what a server listens on
    status      error categories and their statuses: the one table

Nothing is filled at import and nothing is shared: any number of fronts live in one process.
"""
