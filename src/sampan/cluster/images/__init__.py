"""Images travel between nodes; no registry is needed.

A *source* is a node that may have an image, a *holder* one that said so. An *errand* brings one
image here, once, from wherever it can be had; a *flight* is an errand that several tasks wait for.
*Pinned* is an image by its digest: then it does not matter who sends it. *Busy* is a node that
sends enough already. See docs/design/image.md.
"""
