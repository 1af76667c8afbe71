"""The OCI runtime behind conmon: its command line, exit watching, exec, attach, logs.

A container's processes hang together so; whatever the daemon does, the left column goes on:

    conmon (own session, subreaper) ── parent of ──▶ the container's first process
      │ keeps: pipes or pty, log, attach socket, control FIFO, exit file
      └ parent: this daemon, which is a subreaper too; PID 1 once the daemon is gone

    RUNTIME exec --detach ── ends at once, leaves ──▶ the command, now this daemon's child

Not here: the OCI document (`oci`), when a container may start or stop (`verbs`, `upkeep`).
"""
