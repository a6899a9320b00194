"""Images travel between nodes; no registry is needed.

A *source* is a node that may have an image, a *holder* one that said so. A *fetch* brings one
image here, once, from the registry or another node; tasks that want the same image wait for the
same fetch. An image is *pinned* by its digest: then it does not matter who sends it. A node is
*busy* when it sends enough already. See docs/design/image.md.
"""
