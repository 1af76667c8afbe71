"""What a container consists of on the host, part by part, and the one teardown that takes it away.

Above `sandbox`: a container uses the namespaces, files and labels of its pod.
"""
