"""Linux, and nothing about pods: processes, files, mounts, namespaces, cgroups, tasks."""
