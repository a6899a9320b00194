"""Networks that span hosts: VXLAN segments, virtual addresses, the ingress mesh."""
