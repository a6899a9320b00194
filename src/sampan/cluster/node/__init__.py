"""One host's membership: how it makes, joins and leaves a cluster, and what it runs meanwhile.

*Membership*: what this host is in a cluster, for good; on disk it is ``node.json`` in its *state
directory*. *Member*: one start of it, with everything that runs; a change of role is another start.
*Manager*: what a manager runs beside that. *Peer role*: what a caller counts as here, whatever its
certificate says. *Members* (``members.py``): the managers of the store, to whom one is added as a
*learner* (no vote) and then promoted; *dismissed* is who is taken out.
"""
