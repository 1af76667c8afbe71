"""Pure: the OCI runtime-spec document of a container, part by part.

Not here: files, mounts, clocks; facts of the host are arguments (`facts.Facts`).
"""
