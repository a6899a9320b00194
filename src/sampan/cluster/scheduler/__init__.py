"""Which node a task runs on.

A *filter* says which nodes can be considered at all, and explains to the user whom it refused;
*ranking* says which of them is best. *Room* is what a node has left: *reserved* counts until a
task's end has been seen, *load* counts only tasks that are meant to go on. A *constraint* is the
user's own filter, a *spread preference* the user's own ranking.
"""
