"""New limits of a container that is there already, all of them or none."""

import asyncio
import dataclasses
import errno
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from berth.base.errors import BerthError, FailedPrecondition, InvalidArgument, RuntimeFailure
from berth.linux.cgroups.naming import Driver
from cri_shim.context import Context
from cri_shim.model.container import Container
from cri_shim.model.resources import LinuxResources
from cri_shim.oci.resources import resources_update
from cri_shim.runtime import commands

log = logging.getLogger(__name__)


async def write(ctx: Context, container: Container, wanted: LinuxResources) -> None:
    """Have the kernel keep `wanted`; after an error it keeps what it kept before.

    Through the OCI runtime where systemd must know of it, else straight to the files: sooner, with
    an undo, and crun 1.8 cannot take a quota away on cgroup v1.
    """
    document = resources_update(wanted, ctx.host.cgroup)
    match ctx.settings.driver:
        case Driver.CGROUPFS:
            await asyncio.to_thread(_write_files, ctx, container, _from_document(document))
        case Driver.SYSTEMD:
            await _ask_runtime(ctx, container, document)
    # After the limits: this cannot fail as a whole, so nothing needs to be undone for it.
    if wanted.oom_score_adj != container.resources.oom_score_adj:
        score = max(wanted.oom_score_adj, ctx.host.oom_floor)
        await asyncio.to_thread(_write_oom_score, ctx, container, score)


def _write_oom_score(ctx: Context, container: Container, score: int) -> None:
    """To every process: no control group holds it. One that ends meanwhile needs none."""
    for pid in ctx.cgroups.processes(container.cgroup):
        try:
            Path(f"/proc/{pid}/oom_score_adj").write_text(str(score))
        except OSError as error:
            log.debug("container %s: OOM score of %d: %s", container.id[:12], pid, error)


def _from_document(document: Mapping[str, Any]) -> LinuxResources:
    """The OCI document says which fields count on this host; the files are written from it."""
    cpu, memory = document.get("cpu", {}), document.get("memory", {})
    unified = dict(document.get("unified", {}))
    if pids := document.get("pids", {}).get("limit"):
        unified["pids.max"] = "max" if pids < 0 else str(pids)
    return LinuxResources(
        cpu_shares=cpu.get("shares", 0),
        cpu_quota=cpu.get("quota", 0),
        cpu_period=cpu.get("period", 0),
        cpuset_cpus=cpu.get("cpus", ""),
        cpuset_mems=cpu.get("mems", ""),
        memory_limit=memory.get("limit", 0),
        swap_limit=memory.get("swap", 0),
        hugepages=tuple((h["pageSize"], h["limit"]) for h in document.get("hugepageLimits", ())),
        unified=unified,
    )


def _write_files(ctx: Context, container: Container, limits: LinuxResources) -> None:
    try:
        ctx.cgroups.apply(container.cgroup, limits)
    except OSError as error:
        text = f"container {container.name}: {error.filename}: {error.strerror}"
        if error.errno in (errno.EINVAL, errno.ERANGE, errno.ENOSPC, errno.EACCES):
            raise InvalidArgument(f"{text}: the kernel refuses this value") from error
        # cgroup v1 refuses a memory limit below the use, where v2 kills until it fits.
        if error.errno == errno.EBUSY:
            raise FailedPrecondition(f"{text}: lower the use first") from error
        raise RuntimeFailure(text) from error


async def _ask_runtime(ctx: Context, container: Container, document: dict[str, Any]) -> None:
    """The runtime sets limit by limit: those before a refused one are set back by a second call."""
    handler = ctx.handlers.get(container.handler)
    try:
        await commands.update(handler, container.id, json.dumps(document).encode())
    except BerthError:
        before = dataclasses.replace(container.resources, unified={})
        known = resources_update(before, ctx.host.cgroup)
        try:
            await commands.update(handler, container.id, json.dumps(known).encode())
        except BerthError as error:
            log.warning("container %s: limits after a refused update: %s", container.id[:12], error)
        raise
