"""Networks that span hosts: VXLAN segments, virtual addresses, the ingress mesh.

A *view* is what this node is told: networks, their *members* (endpoints of tasks and of attached
containers, with the host each is on) and services. A *plan* is what that means for one network: its
*wire* (which address is on which host), *balance* (virtual address to members), *mesh* (published
port to members) and *zone* (names). A *tunnel* is a node's end of a network, a *space* a
container's namespace that is on one. See docs/design/overlay.md.
"""
