"""Images: references, registries, content, unpacking, snapshots.

Not here: mounts of a container's volumes (`pods`), the CRI messages (`api`).
"""
