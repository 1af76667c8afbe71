"""Images: references, registries, content, unpacking, snapshots.

Here: everything between an image's name and a mounted root file system, and back into archives.
Not here: mounts of a container's volumes (`pods`), the CRI messages (`api`), where records are
kept (`store`, handed in as tables).
"""
