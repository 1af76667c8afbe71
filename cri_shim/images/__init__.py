"""Everything between an image's name and a mounted root file system, and back into archives.

`service` is what the verbs and the command line ask; `pull` and `assemble` bring an image here.
The sub-packages below them are layered: see the contracts in pyproject.toml.
Not here: mounts of a container's volumes (`container`), the CRI messages (`api`), where records
are kept (`store`, handed in as tables).
"""
