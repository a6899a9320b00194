"""Addresses, ports and identifiers of networks, services, nodes and tasks.

The *ledger* is what is in use: what the objects say of themselves, added up, and moved on by each
change of one; nothing is noted beside them, so nothing can leak. The *hand* is where a search
begins: after what was given last, so that what was freed comes back as late as possible. A task
leaves NEW when it has everything that it needs from here.
"""
