"""The node's end of a session: tasks run here, as the cluster wants them."""
