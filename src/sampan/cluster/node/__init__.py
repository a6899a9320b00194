"""One host's membership: how it makes, joins and leaves a cluster, and what it runs meanwhile."""
