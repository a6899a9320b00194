"""Which node a task runs on.

A *filter* says which nodes can be considered at all, and explains to the user whom it refused; a
*strategy* says which of them is best. The *node index* is what nodes have left: *reserved* counts
until a task's end has been seen, *load* counts only tasks that are meant to go on. A *constraint*
is the user's own filter, a *spread preference* the user's own ranking. What is placed is anything
*wanted*: a task, or a container.
"""
