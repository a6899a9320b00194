"""The laboratory: hosts out of namespaces on a LAN of their own, for the tests of the cluster.

A host has every namespace that a machine would have for itself (processes, mounts, network,
hostname, IPC), so that losing its power is one ``kill -9`` of its first process: the kernel takes
everything else with it, in no order. Nothing of the machine that carries the laboratory is touched
but a temporary directory and the cgroups of each host's daemon.
"""

from sampan.testing.lab.host import LabHost
from sampan.testing.lab.lab import Lab

__all__ = ["Lab", "LabHost"]
