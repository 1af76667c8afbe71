"""The OCI runtime behind conmon: its command line, exit watching, attach, logs.

Not here: the OCI document (`oci`), when a container may start or stop (`pods`).
"""
