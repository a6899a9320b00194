"""Many hosts as one: nodes, services, tasks, and the loops that make them true.

A *node* is a host that is a member: a *worker* runs tasks, a *manager* keeps the state as well. A
*service* is what a user asks for, a *task* one attempt to run one container of it on one node. The
managers' *store* holds the records; the *leader* among the managers runs the loops that write
tasks; each node's *agent* runs them. See docs/design/cluster.md and docs/design/membership.md.
"""
