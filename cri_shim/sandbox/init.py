"""The reaping init of a pod whose containers share one PID namespace.

It is the first process of that namespace: orphans in the pod become its children and it has to
reap them, and when it ends the kernel kills all others there (pid_namespaces(7)). It runs as a
container of its own under the pod's id, since the OCI runtime can make it in the pod's namespaces
and cgroup, and conmon reports its end like any other.
"""

import asyncio
import dataclasses
import errno
import os
import shutil
import signal
import time
from pathlib import Path

from berth.linux import files, processes
from cri_shim.context import Context
from cri_shim.model.sandbox import Sandbox
from cri_shim.oci.document import render
from cri_shim.oci.init import init_document
from cri_shim.runtime import commands, conmon
from cri_shim.runtime.probe import known_init
from cri_shim.sandbox.cgroup import container_cgroup
from cri_shim.sandbox.namespaces import own_kinds


def init_root(ctx: Context) -> Path:
    """The root directory all inits share, read-only: one static program and three mount points."""
    return ctx.directories.programs / "init"


def prepare_root(ctx: Context) -> None:
    """Make the shared root; RuntimeFailure names the program where it is not installed."""
    root = init_root(ctx)
    for directory in ("proc", "dev", "sys"):
        (root / directory).mkdir(parents=True, exist_ok=True)
    program = root / "init"
    if not program.exists():
        # By rename: two pods may be first at once, and a program that is written to cannot be run
        # meanwhile (ETXTBSY).
        shutil.copyfile(known_init(), root / "init.new")
        (root / "init.new").chmod(0o755)
        (root / "init.new").replace(program)


async def start_init(ctx: Context, sandbox: Sandbox) -> None:
    """Start it as a container of its own with the pod's id; its pid goes into the record."""
    handler = ctx.handlers.get(sandbox.handler)
    bundle = ctx.directories.bundle(sandbox.id)
    await asyncio.to_thread(_write_bundle, ctx, sandbox, bundle)
    launch = conmon.Launch(sandbox.id, bundle, handler, log=None, persist=bundle)
    created = await conmon.create(launch, ctx.settings.create_timeout)
    # In the record before it runs: a teardown after `kill -9` finds it from there.
    ctx.store.update_sandbox(
        sandbox.id,
        lambda now: dataclasses.replace(now, pid=created.pid, pid_start=created.pid_start),
    )
    await commands.start(handler, sandbox.id)


def _write_bundle(ctx: Context, sandbox: Sandbox, bundle: Path) -> None:
    prepare_root(ctx)
    bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory = ctx.directories.namespaces(sandbox.id)
    options = sandbox.spec.security.namespaces
    document = init_document(
        root=str(init_root(ctx)),
        namespaces={kind: str(directory / kind) for kind in own_kinds(options)},
        user=(str(directory / "user"), options.user) if options.user else None,
        cgroups_path=container_cgroup(ctx, sandbox, sandbox.id)[1],
    )
    # Not durable: no process that was made from it outlives a power cut.
    files.atomic_write(bundle / "config.json", render(document), durable=False)


async def stop_init(ctx: Context, sandbox: Sandbox) -> None:
    """Kill it and take away what the OCI runtime keeps of it. Idempotent."""
    bundle = ctx.directories.bundle(sandbox.id)
    if not bundle.exists():
        return  # made before anything else of an init, and removed after all of it
    # Before the record has the pid, after `kill -9` in the middle of a create, the OCI runtime's
    # own record of the container finds the process: `delete --force` kills it.
    pidfd = processes.open_pidfd(sandbox.pid, sandbox.pid_start) if sandbox.pid else None
    if pidfd is not None:
        try:
            processes.send_signal(pidfd, signal.SIGKILL)
            await processes.wait_pidfd(pidfd)
        finally:
            os.close(pidfd)
    await commands.delete(ctx.handlers.get(sandbox.handler), sandbox.id, force=True)
    await asyncio.to_thread(_remove_bundle, bundle)


def _remove_bundle(bundle: Path) -> None:
    """conmon ends a moment after the process: its exit file may come while this empties.

    rmdir(2) then finds the directory not empty, and the file is there for the next round.
    """
    for _ in range(100):
        try:
            return files.remove_tree(bundle)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            time.sleep(0.01)
    return files.remove_tree(bundle)


def pid_namespace(sandbox: Sandbox) -> str:
    """The path of the PID namespace that containers of the pod join."""
    return f"/proc/{sandbox.pid}/ns/pid"
