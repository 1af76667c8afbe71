"""The RPCs of pods and containers, one file each, read top-down as a list of steps.

Not here: what a pod or a container consists of on the host (`sandbox`, `container`), how an image,
a network or an OCI runtime works (the layer below those), and gRPC (`api`).
"""
