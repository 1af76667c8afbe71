"""The files a pod's containers share: resolv.conf, hostname, /dev/shm."""

import asyncio
import os
from pathlib import Path

from berth.base.errors import RuntimeFailure
from berth.linux import mounts, selinux
from cri_shim.context import Context
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.model.sandbox import Sandbox
from cri_shim.sandbox.labels import pod_labels
from cri_shim.sandbox.network import host_name

SHM_SIZE = 64 << 20
"""Bytes of a pod's /dev/shm, as every CRI runtime has it."""


async def make_files(ctx: Context, sandbox: Sandbox) -> None:
    try:
        await asyncio.to_thread(_make, ctx, sandbox)
    except OSError as error:
        raise RuntimeFailure(f"pod {sandbox.name}: making its files: {error}") from error


def _make(ctx: Context, sandbox: Sandbox) -> None:
    directories = ctx.directories
    labels = pod_labels(ctx.host.selinux, sandbox)
    label = labels.file if labels else ""
    # 0711: processes of a user namespace pass it on the way to files that are bound into them.
    directories.sandbox(sandbox.id).mkdir(parents=True, exist_ok=True, mode=0o711)
    # /etc/hosts is not among these: kubelet writes it and gives it as a mount.
    directories.resolv_conf(sandbox.id).write_text(_resolv_conf(sandbox))
    directories.hostname(sandbox.id).write_text(host_name(sandbox) + "\n")
    for path in (directories.resolv_conf(sandbox.id), directories.hostname(sandbox.id)):
        path.chmod(0o644)  # whatever the daemon's umask: containers do not run as root
        if label:
            selinux.set_label(str(path), label)
    paths = [directories.resolv_conf(sandbox.id), directories.hostname(sandbox.id)]
    if sandbox.spec.security.namespaces.ipc is NamespaceMode.POD:
        # One for all containers: POSIX shared memory between them is what sharing IPC is for.
        # The label goes into the mount's options, for a tmpfs that is mounted takes no other.
        shm = directories.shm(sandbox.id)
        shm.mkdir(exist_ok=True)
        mounts.tmpfs(str(shm), SHM_SIZE, 0o1777, label=label)
        paths.append(shm)
    # These are bound without id mapping, so their owner must be root as the pod sees it.
    if user := sandbox.spec.security.namespaces.user:
        for path in paths:
            os.chown(path, user.uids[0].host_id, user.gids[0].host_id)


def _resolv_conf(sandbox: Sandbox) -> str:
    """The pod's own, or a copy of the host's where it asks for none."""
    if sandbox.spec.dns is not None:
        return sandbox.spec.dns.render()
    # A copy: systemd-resolved replaces the host's by rename, and a bind mount keeps the old inode.
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""


def shm_source(ctx: Context, sandbox: Sandbox) -> str:
    """What containers of the pod see as /dev/shm."""
    if sandbox.spec.security.namespaces.ipc is NamespaceMode.POD:
        return str(ctx.directories.shm(sandbox.id))
    return "/dev/shm"
