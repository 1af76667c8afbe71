"""Linux, and nothing about pods: processes, files, mounts, namespaces, cgroups, tasks.

Wrappers of what the kernel offers, under the kernel's own names; they raise OSError with errno and
path. Processes are started and asyncio tasks created here and nowhere else. What knows of
sandboxes, containers or CRI does not belong here.
"""
