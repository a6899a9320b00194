"""Many hosts as one: nodes, services, tasks, and the loops that make them true."""
