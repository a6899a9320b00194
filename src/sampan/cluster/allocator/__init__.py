"""Addresses, ports and identifiers of networks, services, nodes and tasks."""
