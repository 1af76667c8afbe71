"""What a pod consists of on the host, part by part, and the one teardown that takes it away.

There is no pause container. One would keep the pod's namespaces alive by a process of its own, at
about a megabyte, a cgroup and 20 ms a pod, and a pod would break where that process is killed. A
bind mount of /proc/PID/ns/KIND keeps a namespace just as well (namespaces(7)). Only a PID namespace
needs a process: it ends with its first one. So a pod that shares one has an init, and no other has.
"""
