"""The verbs on the cluster's objects: each checks what the user asks for and writes it, whole.

One module an object. Every verb is a plain draft over ``ManagerParts``: any manager may run it,
and what it decides holds only if what it read is unchanged. Tasks are the orchestrators': nothing
here makes or ends one.
"""
