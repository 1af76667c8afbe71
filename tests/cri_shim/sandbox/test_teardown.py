"""The teardown of a pod: whole, repeatable, and kept as an intent where something resists."""

import pytest

from berth.base.errors import RuntimeFailure
from cri_shim.model.lifecycle import SandboxState
from cri_shim.sandbox.teardown import remove_files, undo
from tests.support.context import Host


async def test_an_undo_leaves_nothing(host: Host) -> None:
    pod = host.pod(SandboxState.CREATING, admitted=True)
    directory = host.ctx.directories.sandbox(pod.id)
    (directory / "ns").mkdir(parents=True)
    (directory / "resolv.conf").write_text("")
    await undo(host.ctx, pod, RuntimeError("why"))
    assert host.ctx.store.view.sandboxes == {}
    assert not directory.exists()
    assert host.network.detached == [pod.id]
    assert host.admission.told == [f"release {pod.spec.metadata.uid}"]


async def test_what_resists_stays_as_an_intent(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    """The grant too: the pod's addresses are not free, so the pod is not gone."""
    pod = host.pod(SandboxState.CREATING, admitted=True)
    host.network.fails = RuntimeFailure("no answer")
    await undo(host.ctx, pod, RuntimeError("why"))
    assert (host.now(pod).state, host.now(pod).admitted) == (SandboxState.REMOVING, True)
    assert host.admission.told == []
    assert "undo after RuntimeError('why') is not complete" in caplog.text


async def test_the_last_pod_takes_the_cgroup_away(host: Host) -> None:
    cgroup = host.ctx.directories.state.parent / "cgroup" / "p"
    cgroup.mkdir(parents=True)
    first = host.pod(SandboxState.NOTREADY, cgroup="/p", cgroup_made=True)
    second = host.pod(cgroup="/p", cgroup_made=True)
    await remove_files(host.ctx, first)
    assert cgroup.exists()
    host.ctx.store.delete_sandbox(first.id)
    await remove_files(host.ctx, second)
    assert not cgroup.exists()


async def test_a_cgroup_of_the_kubelet_stays(host: Host) -> None:
    cgroup = host.ctx.directories.state.parent / "cgroup" / "p"
    cgroup.mkdir(parents=True)
    await remove_files(host.ctx, host.pod(cgroup="/p", cgroup_made=False))
    assert cgroup.exists()
