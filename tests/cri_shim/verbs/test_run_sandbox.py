"""RunPodSandbox: admission before anything is made, and nothing left of what is refused."""

from dataclasses import replace

import pytest

from berth.base.errors import InvalidArgument, ResourceExhausted
from berth.linux.cgroups.naming import Driver
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.sandbox import SandboxSpec
from cri_shim.verbs.run_sandbox import run_sandbox
from tests.support.context import Host


def config(**fields: str) -> cri.PodSandboxConfig:
    made = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="p", uid="u", namespace="n"))
    options = made.linux.security_context.namespace_options
    options.network, options.pid, options.ipc = cri.NODE, cri.CONTAINER, cri.NODE
    for name, value in fields.items():
        setattr(made.linux, name, value)
    return made


async def run(host: Host, message: cri.PodSandboxConfig) -> str:
    spec = SandboxSpec.from_cri(message, "")
    return await run_sandbox(host.ctx, spec, message.SerializeToString())


async def test_a_pod_that_is_held_costs_nothing(host: Host) -> None:
    host.admission.refuses = ResourceExhausted("pod n/p is held")
    with pytest.raises(ResourceExhausted, match="is held"):
        await run(host, config())
    assert host.ctx.store.view.sandboxes == {}
    assert host.admission.told == ["admit u"]
    assert not (host.ctx.directories.state / "pods").exists()


async def test_an_admitted_pod_says_so_in_its_record(host: Host) -> None:
    id_ = await run(host, config())
    sandbox = host.ctx.store.view.sandbox(id_)
    assert sandbox.admitted
    assert (sandbox.cgroup, sandbox.cgroup_made) == (f"/berth-pod{id_}", True)


async def test_pods_are_not_asked_for_where_admission_is_off(host: Host) -> None:
    host.admission.enabled = False
    id_ = await run(host, config())
    assert (host.admission.told, host.ctx.store.view.sandbox(id_).admitted) == ([], False)


async def test_a_bad_cgroup_parent_is_refused_before_admission(host: Host) -> None:
    host.ctx.settings = replace(host.ctx.settings, driver=Driver.SYSTEMD)
    with pytest.raises(InvalidArgument, match="cgroup_parent"):
        await run(host, config(cgroup_parent="/no-slice"))
    assert (host.admission.told, host.ctx.store.view.sandboxes) == ([], {})
