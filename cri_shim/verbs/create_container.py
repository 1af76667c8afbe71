"""CreateContainer."""

import asyncio
import dataclasses
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from berth.base.errors import FailedPrecondition, NotFound
from berth.base.operations import Stage
from berth.linux import files
from berth.linux.cgroups import naming
from cri_shim.container import mounts
from cri_shim.container.checks import check_least_memory, check_limits, in_pod
from cri_shim.container.facts import gather
from cri_shim.container.target import held
from cri_shim.container.teardown import undo
from cri_shim.context import Context
from cri_shim.model.container import Container, ContainerSpec
from cri_shim.model.events import EventType
from cri_shim.model.ids import ContainerId, new_id
from cri_shim.model.image import Image
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox
from cri_shim.oci import document
from cri_shim.oci.facts import Facts
from cri_shim.oci.signals import stop_signal
from cri_shim.runtime import conmon
from cri_shim.sandbox.admission import check_grant
from cri_shim.sandbox.cgroup import container_cgroup
from cri_shim.sandbox.labels import relabel
from cri_shim.sandbox.namespaces import user_namespace
from cri_shim.verbs.start_container import running


@dataclasses.dataclass(frozen=True, slots=True)
class Restored:
    """What a container is made from in place of its command. `images`: CRIU's directory."""

    images: Path
    fill: Callable[[ContainerId], Awaitable[None]]
    """Puts into the container's root what it had changed there."""


async def create_container(
    ctx: Context,
    sandbox_id: str,
    spec: ContainerSpec,
    config: bytes,
    restored: Restored | None = None,
) -> ContainerId:
    """Prepare the container; its process waits for StartContainer, a `restored` one runs.

    A retry with the same name and attempt joins the create in flight. Raises FailedPrecondition
    for a pod that is not ready, NotFound for an image that is not here, InvalidArgument for a
    field; nothing is left behind then.
    """
    sandbox = _ready_sandbox(ctx, sandbox_id)
    handler = ctx.handlers.get(sandbox.handler)
    spec = in_pod(spec, sandbox, handler)
    check_least_memory(spec.resources, handler.kind, "config.linux.resources")
    parent = naming.pod_path(ctx.settings.driver, sandbox.cgroup)
    check_limits(ctx.cgroups, spec.resources, parent, "config.linux.resources")
    image = ctx.images.get(spec.image)
    if image is None:
        raise NotFound(f"image {spec.image!r} is not on this node: pull it first")
    found = image

    async def make(stage: Stage) -> ContainerId:
        return await _make(ctx, sandbox, found, spec, config, restored, stage)

    # What CRI calls the container until it has an id: kubelet's retry comes with the same.
    name = f"{sandbox.id}_{spec.name}_{spec.attempt}"
    what = f"create container {spec.name} of pod {sandbox.name}"
    return await ctx.container_operations.join(name, what, make)


def _ready_sandbox(ctx: Context, id_: str) -> Sandbox:
    # Asked twice: at the start, and again before CREATED, for a create may take minutes and the pod
    # may have begun to stop. After that a stop finds the container in its list.
    sandbox = ctx.store.view.sandbox(id_)
    if sandbox.state is not SandboxState.READY:
        raise FailedPrecondition(
            f"pod {sandbox.name} is {sandbox.state.value}: only a ready pod takes containers"
        )
    check_grant(ctx, sandbox)
    return sandbox


async def _make(
    ctx: Context,
    sandbox: Sandbox,
    image: Image,
    spec: ContainerSpec,
    config: bytes,
    restored: Restored | None,
    stage: Stage,
) -> ContainerId:
    container = _intent(ctx, sandbox, image, spec, config)
    # The record names the images that will be mounted, and from now on nobody can remove them.
    # After `kill -9` in any step recovery finds CREATING, and takes away what the step had made.
    async with ctx.locks.hold(container.id):
        ctx.store.add_container(container)
        try:
            with held(ctx, container):
                container = await _steps(ctx, sandbox, image, container, restored, stage)
            _ready_sandbox(ctx, sandbox.id)
        except BaseException as error:
            stage.enter("undo")
            await undo(ctx, container, error)
            if isinstance(error, Exception):
                # Where a step failed for want of the pod's parts: that the pod goes says more.
                _ready_sandbox(ctx, sandbox.id)
            raise
        ctx.store.update_container(
            container.id, lambda now: dataclasses.replace(now, state=ContainerState.CREATED)
        )
    ctx.events.publish(container.id, container.sandbox_id, EventType.CREATED)
    if restored is not None:
        running(ctx, container.id)  # CRIU lets the processes go on within `create`
    # After the record says CREATED: an exit that was seen before would find nothing to end.
    ctx.exits.watch(container)
    return container.id


def _intent(
    ctx: Context, sandbox: Sandbox, image: Image, spec: ContainerSpec, config: bytes
) -> Container:
    id_ = ContainerId(new_id(os.urandom(32)))
    return Container(
        id=id_,
        sandbox_id=sandbox.id,
        spec=spec,
        state=ContainerState.CREATING,
        created_at=ctx.clock(),
        image_id=image.id,
        image_name=spec.image,
        handler=sandbox.handler,
        cgroup=container_cgroup(ctx, sandbox, id_)[0],
        log_path=_log_path(sandbox, spec),
        stop_signal=stop_signal(spec.stop_signal, image.config.stop_signal),
        resources=spec.resources,
        image_mounts=mounts.images(ctx, spec.mounts),
        boot=ctx.boot,
        config=config,
    )


def _log_path(sandbox: Sandbox, spec: ContainerSpec) -> str:
    # Without either kubelet wants no log; conmon then writes to nowhere.
    if not sandbox.spec.log_directory or not spec.log_path:
        return ""
    return f"{sandbox.spec.log_directory.rstrip('/')}/{spec.log_path}"


async def _steps(
    ctx: Context,
    sandbox: Sandbox,
    image: Image,
    container: Container,
    restored: Restored | None,
    stage: Stage,
) -> Container:
    """Each step's result is in the record before the next begins: teardown needs no more.

    Mounts first, because a dead file system is found out there, at no cost but time. The root
    before the document, which needs the image's passwd for the user; labels after it, since they
    depend on the merged options. conmon last: from there on a process may exist.
    """
    spec = container.spec
    stage.enter("mounts")
    userns = user_namespace(ctx, sandbox)
    mounted = await mounts.resolve(ctx, container.id, spec.mounts, userns)
    ctx.store.update_container(
        container.id, lambda now: dataclasses.replace(now, mounts=mounted.statuses)
    )
    stage.enter("root")
    rootfs = await ctx.images.prepare(image.id, container.id, userns)
    if restored is not None:
        stage.enter("what it had written")
        await restored.fill(container.id)
    stage.enter("document")
    facts = await asyncio.to_thread(
        gather, ctx, sandbox, container, image, str(rootfs), mounted.resolved
    )
    if facts.selinux is not None:
        stage.enter("labels")
        await asyncio.to_thread(relabel, spec, facts)
        stage.enter("document")
    bundle = ctx.directories.bundle(container.id)
    await asyncio.to_thread(_write, bundle, container, facts)
    stage.enter("runtime")
    launch = _launch(ctx, container, bundle, restored.images if restored else None)
    created = await conmon.create(launch, ctx.settings.create_timeout)
    # Killed before this line, the OCI runtime's own record is what teardown finds the process by.
    return ctx.store.update_container(
        container.id,
        lambda now: dataclasses.replace(
            now,
            user=facts.user,
            pid=created.pid,
            pid_start=created.pid_start,
            conmon_pid=created.conmon_pid,
            conmon_start=created.conmon_start,
        ),
    )


def _write(bundle: Path, container: Container, facts: Facts) -> None:
    config = document.render(document.compose(container.spec, facts))
    bundle.mkdir(parents=True, exist_ok=True, mode=0o700)
    files.atomic_write(bundle / "config.json", config, durable=False)
    if container.log_path:
        Path(container.log_path).parent.mkdir(parents=True, exist_ok=True)


def _launch(
    ctx: Context, container: Container, bundle: Path, restore: Path | None
) -> conmon.Launch:
    return conmon.Launch(
        id=container.id,
        bundle=bundle,
        handler=ctx.handlers.get(container.handler),
        log=container.log_path or None,
        persist=bundle,
        terminal=container.spec.tty,
        stdin=container.spec.stdin,
        stdin_once=container.spec.stdin_once,
        restore=restore,
    )
