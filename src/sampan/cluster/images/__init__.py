"""Images travel between nodes; no registry is needed."""
