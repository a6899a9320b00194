"""Addresses, ports and identifiers of networks, services, nodes and tasks.

The *ledger* is what is in use, read off the state anew for each pass: nothing is noted, so nothing
can leak. The *hand* is where a search begins: after what was given last, so that what was freed
comes back as late as possible. A task leaves NEW when it has everything that it needs from here.
"""
