"""Starts, ends, restarts and rollouts of tasks; their history; the watch over nodes.

A *place* is a slot of a replicated service or a node of a global one: *current*, *outdated*, *done*
or *vacant*. A *plan* is what is to be done for one service, with a reason for each step; it follows
from the state and the time alone, so any leader can go on with it. A *rollout* replaces what is
outdated, place by place. The *reaper* forgets tasks that are over; the *node watch* notices nodes
whose manager has vanished.
"""
