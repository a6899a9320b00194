"""The cluster's certificate authority: who may call itself a node, and how it proves that.

*Root*: the certificate (and key) that all others go back to. *Token*: the root's digest, by which a
joiner knows the cluster, and a *secret*, by which the cluster knows the joiner. *Issue* is the
first certificate of a node, *renewal* every next one. *Rotation*: a new root beside the old one,
signed by it (*cross-signed*), until every node has renewed. *Box*: what is sealed with the
cluster's key, and opens only as the object it belongs to.
"""
