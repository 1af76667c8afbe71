"""Linux, and nothing about pods: processes, files, mounts, namespaces, cgroups, tasks.

Wrappers of what the kernel gives, under the kernel's own names; they raise OSError with errno and
path. Here and nowhere else processes are started and asyncio tasks created. What knows of
sandboxes, containers or CRI does not belong here.
"""
