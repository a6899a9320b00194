"""The managers' end of the agents' sessions: what goes out to the nodes, what comes in."""
