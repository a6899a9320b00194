"""The node's end of a session: tasks run here, as the cluster wants them.

An *assignment* is a task as this node is told of it; a *runner* takes one from step to step; the
*executor* does the steps on this host's engine. *Supplies* are what tasks need beside themselves
(networks, secrets, configs, where images may be had). *Payloads* are secrets and configs as files,
in memory only. *Reports* are what the managers have yet to hear. *Attachments* are containers that
a person started on the cluster's networks.
"""
