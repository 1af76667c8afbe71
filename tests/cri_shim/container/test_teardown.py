"""The teardown of a container, from its record alone."""

from cri_shim.container.teardown import teardown, undo
from cri_shim.model.lifecycle import ContainerState
from tests.support.context import Host


async def test_it_takes_everything_and_can_be_repeated(host: Host) -> None:
    container = host.container(
        host.pod(), ContainerState.REMOVING, cgroup="/p/c", image_mounts=("sha256:x", "sha256:y")
    )
    bundle = host.ctx.directories.bundle(container.id)
    cgroup = host.ctx.directories.state.parent / "cgroup" / "p" / "c"
    for directory in (bundle, cgroup):
        directory.mkdir(parents=True)
    host.runtime.has(container.id)
    await teardown(host.ctx, container)
    assert host.runtime.calls == [f"delete {container.id}"]
    assert (bundle.exists(), cgroup.exists()) == (False, False)
    assert host.images.released == [container.id]
    assert host.images.unmounted == ["sha256:x", "sha256:y"]
    await teardown(host.ctx, container)


async def test_the_runtime_is_not_asked_about_what_never_reached_it(host: Host) -> None:
    container = host.container(host.pod(), ContainerState.CREATING)
    await undo(host.ctx, container, RuntimeError("why"))
    assert host.runtime.calls == []
    assert host.ctx.store.view.containers == {}


async def test_a_runtime_that_fails_keeps_the_record(host: Host) -> None:
    """And the files: what the runtime does not let go of is found from them."""
    container = host.container(host.pod(), ContainerState.CREATING)
    bundle = host.ctx.directories.bundle(container.id)
    bundle.mkdir(parents=True)
    host.runtime.has(container.id)
    host.runtime.complain("device or resource busy")
    await undo(host.ctx, container, RuntimeError("why"))
    assert host.state(container) is ContainerState.REMOVING
    assert (bundle.exists(), host.images.released) == (True, [])
