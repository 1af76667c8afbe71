"""Rules between the fields of a pod, and its cgroup."""

from dataclasses import replace

import pytest

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.lifecycle import SandboxState
from cri_shim.model.sandbox import SandboxSpec
from cri_shim.runtime.handler import Features
from cri_shim.sandbox.cgroup import choose_cgroup
from cri_shim.sandbox.checks import check
from tests.support.context import Host


def config(**sysctls: str) -> cri.PodSandboxConfig:
    made = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="p"))
    made.linux.sysctls.update({k.replace("__", "."): v for k, v in sysctls.items()})
    return made


@pytest.mark.parametrize(
    ("sysctl", "shared", "needed"),
    [
        ("net__core__somaxconn", "network", "network"),
        ("kernel__shmmax", "ipc", "IPC"),
        ("kernel__hostname", "network", "UTS"),
    ],
)
def test_a_sysctl_needs_the_pods_own_namespace(
    host: Host, sysctl: str, shared: str, needed: str
) -> None:
    message = config(**{sysctl: "1"})
    check(SandboxSpec.from_cri(message, ""), host.runtime.handler)
    setattr(message.linux.security_context.namespace_options, shared, cri.NODE)
    with pytest.raises(InvalidArgument, match=f"needs a {needed} namespace"):
        check(SandboxSpec.from_cri(message, ""), host.runtime.handler)


def test_a_sysctl_of_the_whole_host_is_refused(host: Host) -> None:
    spec = SandboxSpec.from_cri(config(vm__swappiness="1"), "")
    with pytest.raises(InvalidArgument, match="not namespaced"):
        check(spec, host.runtime.handler)


def test_a_user_namespace_needs_a_handler_that_maps(host: Host) -> None:
    message = config()
    options = message.linux.security_context.namespace_options.userns_options
    for mappings in (options.uids, options.gids):
        mappings.add(container_id=0, host_id=1 << 16, length=1 << 16)
    spec = SandboxSpec.from_cri(message, "")
    with pytest.raises(InvalidArgument, match="cannot map ids"):
        check(spec, host.runtime.handler)
    check(spec, replace(host.runtime.handler, features=Features(user_namespaces=True)))


def test_a_cgroup_that_was_there_stays(
    host: Host, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = host.pod().spec
    assert choose_cgroup(host.ctx, replace(spec, cgroup_parent="/new"), "i") == ("/new", True)
    (host.ctx.directories.state.parent / "cgroup" / "kubepods").mkdir(parents=True)
    assert choose_cgroup(host.ctx, replace(spec, cgroup_parent="/kubepods"), "i") == (
        "/kubepods",
        False,
    )


def test_a_cgroup_that_a_pod_of_ours_made_is_ours_to_take_away(host: Host) -> None:
    """Its next attempt shares it, and may be the last to go."""
    old = host.pod(SandboxState.NOTREADY, cgroup="/p", cgroup_made=True)
    (host.ctx.directories.state.parent / "cgroup" / "p").mkdir(parents=True)
    assert choose_cgroup(host.ctx, replace(old.spec, cgroup_parent="/p"), "i") == ("/p", True)
