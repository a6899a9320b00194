"""What the nodes of a cluster say to each other: messages and frames, and no side's code."""
