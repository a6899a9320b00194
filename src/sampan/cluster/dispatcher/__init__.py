"""The managers' end of the agents' sessions: what goes out to the nodes, what comes in.

The *index* derives from the state what nodes are to be told; a *table* is one network of it, with
its changes numbered. An *outbox* is what one node has yet to be told: a set of marks, not a queue.
*Statuses* are what nodes say of their tasks, many to a transaction. An *attachment* is a place on a
network for a container that a person started.
"""
