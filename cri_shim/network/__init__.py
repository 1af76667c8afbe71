"""The network of a pod: CNI plugins, the native bridge, host ports, dialing into a pod.

Not here: making or pinning namespaces (`host`).
"""
