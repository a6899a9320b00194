"""The cluster's store on etcd: the child process, its client, the replicated copy, upkeep.

A *revision* is one transaction's number; the *copy* is the state in memory, moved on by whole
revisions and by nothing but the watch. A *draft* is a plain function that becomes a transaction and
runs again if what it touches has changed. A *fence* makes a write hold only while its leadership
does. A *lease* binds a manager's presence and leadership to its life. A *learner* is a member
without a vote. The *backend* is what keeps the keys: etcd, or a dictionary in tests.
"""
