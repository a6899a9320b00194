"""A machine with nothing on it: ``script/bare COMMAND``.

What worked on a developer's machine may have worked because of what happened to be there. Here a
command finds a minimal system made from the host's own package sources, the checkout, and nothing
else; so ``script/setup`` has to bring everything.

    command     the command line; holds the supervisor's lifeline
    machine     the supervisor: the root directory, namespaces, cgroups, network; takes all away
    inside      the first process of the new namespaces
    root        the minimal system, kept under ``build/bare``
"""
