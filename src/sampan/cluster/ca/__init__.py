"""The cluster's certificate authority: who may call itself a node, and how it proves that."""
