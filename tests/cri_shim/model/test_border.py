"""Each rule of the border by example: what is refused, and by which words."""

from collections.abc import Callable
from typing import Any

import pytest

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import ContainerSpec, Propagation
from cri_shim.model.namespaces import IdMapping
from cri_shim.model.sandbox import DnsConfig, SandboxSpec
from cri_shim.model.security import Profile, ProfileKind
from tests.cri_shim.model import cri_messages

Change = Callable[[Any], object]


def _security(config: cri.ContainerConfig) -> cri.LinuxContainerSecurityContext:
    return config.linux.security_context


def _users(security: Any, *mappings: tuple[int, int, int], mode: int = cri.POD) -> None:
    options = security.namespace_options.userns_options
    options.mode = mode
    for inside, outside, length in mappings:
        for found in (options.uids, options.gids):
            found.add(container_id=inside, host_id=outside, length=length)


CONTAINERS: list[tuple[Change, str]] = [
    (lambda c: c.metadata.ClearField("name"), r"metadata\.name is empty"),
    (lambda c: c.image.ClearField("image"), r"image\.image is empty"),
    (lambda c: c.windows.SetInParent(), "windows is set"),
    (lambda c: c.command.append("a\0"), r"command/args\[1\] has a NUL"),
    (lambda c: c.envs.add(key="A=B"), r"envs\[1\]\.key 'A=B' is not a variable"),
    (lambda c: c.envs.add(key="A", value=b"\0"), r"envs\[1\]\.value of A has a NUL"),
    (lambda c: c.mounts.add(host_path="/a"), r"mounts\[1\]\.container_path is empty"),
    (lambda c: c.mounts.add(container_path="/a"), r"mounts\[1\]\.host_path is empty"),
    (lambda c: c.mounts.add(container_path="/a", image=cri.ImageSpec(image="i")), "be readonly"),
    (lambda c: c.mounts[0].image.MergeFrom(cri.ImageSpec(image="i")), "both host_path and image"),
    (lambda c: setattr(c.mounts[0], "propagation", 9), "propagation 9 is not known"),
    (lambda c: setattr(c.mounts[0], "recursive_read_only", True), "needs readonly"),
    (lambda c: c.mounts[0].mount_options.append("suid"), r"mount_options \['suid'\]"),
    (lambda c: c.mounts[0].uidMappings.add(), "mapping of length 0"),
    (lambda c: c.devices.add(host_path="dev/x"), r"devices\[1\]\.host_path 'dev/x' is not abs"),
    (lambda c: c.devices.add(host_path="/dev/x", permissions="x"), "letters of rwm"),
    (lambda c: setattr(c, "log_path", "../x"), "climbs with"),
    (lambda c: setattr(c, "stop_signal", 99), "stop_signal 99"),
    (lambda c: _security(c).run_as_group.MergeFrom(cri.Int64Value(value=-1)), "is not an id"),
    (lambda c: _security(c).ClearField("run_as_user") or _security(c).run_as_group.SetInParent(),
     "run_as_group is given without"),
    (lambda c: setattr(_security(c), "run_as_username", "x"), "both run_as_user and"),
    (lambda c: _security(c).supplemental_groups.append(2**32), "supplemental_groups 4294967296"),
    (lambda c: setattr(_security(c), "supplemental_groups_policy", 7), "policy 7"),
    (lambda c: _security(c).masked_paths.append("proc"), "masked_paths has 'proc'"),
    (lambda c: _security(c).readonly_paths.append("/\0"), "readonly_paths has"),
    (lambda c: setattr(_security(c).seccomp, "profile_type", 5), "profile_type 5"),
    (lambda c: setattr(_security(c).seccomp, "profile_type", 2), "localhost_ref is empty"),
    (lambda c: setattr(_security(c).seccomp, "localhost_ref", "\0"), "localhost_ref has a NUL"),
    (lambda c: setattr(_security(c), "apparmor_profile", "mine"), "'mine' is not runtime/default"),
    (lambda c: setattr(_security(c).namespace_options, "ipc", cri.CONTAINER), "use POD or NODE"),
    (lambda c: setattr(_security(c).namespace_options, "pid", 8), "pid 8 is not a namespace mode"),
    (lambda c: _users(_security(c)), "has 0 mappings"),
    (lambda c: _users(_security(c), (0, 1, 1), (1, 2, 1)), "has 2 mappings"),
    (lambda c: _users(_security(c), (1, 1, 1)), "must map container id 0"),
    (lambda c: _users(_security(c), (0, 2**32 - 1, 2)), "beyond the 32-bit ids"),
    (lambda c: _users(_security(c), (0, 1, 1), mode=cri.CONTAINER), "CONTAINER is not supported"),
    (lambda c: _users(_security(c), (0, 1, 1), mode=cri.NODE), "NODE takes no mappings"),
    (lambda c: setattr(c.linux.resources, "cpu_quota", 999), "cpu_quota is 999: the least"),
    (lambda c: setattr(c.linux.resources, "cpu_period", 10), "cpu_period is 10: the least"),
    (lambda c: setattr(c.linux.resources, "oom_score_adj", 1001), "oom_score_adj is 1001"),
    (lambda c: setattr(c.linux.resources, "cpuset_cpus", "0,,1"), "cpuset_cpus '0,,1'"),
    (lambda c: c.linux.resources.unified.update({"../x": "1"}), "unified key '../x'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), CONTAINERS)
def test_container_is_refused(change: Change, words: str) -> None:
    config = cri_messages.container()
    change(config)
    with pytest.raises(InvalidArgument, match=words):
        ContainerSpec.from_cri(config)


SANDBOXES: list[tuple[Change, str]] = [
    (lambda p: p.metadata.ClearField("name"), r"metadata\.name is empty"),
    (lambda p: p.windows.SetInParent(), "windows is set"),
    (lambda p: setattr(p, "hostname", "a b"), "'a b' is not a host name"),
    (lambda p: setattr(p, "log_directory", "logs"), "'logs' is not an absolute path"),
    (lambda p: p.dns_config.servers.append("1.1.1.1\nx"), "servers has"),
    (lambda p: p.dns_config.options.append(""), "options has ''"),
    (lambda p: setattr(p.port_mappings[0], "container_port", 0), "container_port 0"),
    (lambda p: setattr(p.port_mappings[0], "host_port", 65536), "host_port 65536"),
    (lambda p: setattr(p.port_mappings[0], "protocol", 9), "protocol 9"),
    (lambda p: setattr(p.port_mappings[0], "host_ip", "localhost"), "host_ip 'localhost'"),
    (lambda p: setattr(p.linux, "cgroup_parent", "/a/../.."), "climbs with"),
    (lambda p: p.linux.sysctls.update({"../x": "1"}), "'../x' is not a sysctl"),
    (lambda p: p.linux.sysctls.update({"net.x": "\0"}), "has a NUL byte"),
    (lambda p: _users(p.linux.security_context), "has 0 mappings"),
    (lambda p: setattr(p.linux.resources, "cpu_shares", -1), "cpu_shares is -1"),
]


@pytest.mark.parametrize(("change", "words"), SANDBOXES)
def test_sandbox_is_refused(change: Change, words: str) -> None:
    config = cri_messages.sandbox()
    change(config)
    with pytest.raises(InvalidArgument, match=words):
        SandboxSpec.from_cri(config, "")


def test_what_is_accepted() -> None:
    config = cri_messages.container()
    config.stop_signal = cri.SIGNAL_SIGRTMINPLUS3
    config.mounts[0].propagation = cri.PROPAGATION_BIDIRECTIONAL
    config.mounts[0].uidMappings.add(container_id=0, host_id=5, length=7)
    _users(config.linux.security_context, (0, 100000, 65536))
    spec = ContainerSpec.from_cri(config)
    assert spec.stop_signal == "SIGRTMIN+3"
    assert spec.mounts[0].propagation is Propagation.BIDIRECTIONAL
    assert spec.mounts[0].uids == (IdMapping(0, 5, 7),)
    assert spec.security.namespaces.user is not None
    assert spec.security.capabilities.add == ("CAP_NET_ADMIN",)


def test_the_new_profile_field_stands_over_the_old() -> None:
    config = cri_messages.container()
    security = config.linux.security_context
    security.apparmor_profile = "localhost/old"
    assert ContainerSpec.from_cri(config).security.apparmor == Profile(ProfileKind.LOCALHOST, "old")
    security.apparmor.profile_type = cri.SecurityProfile.Unconfined
    assert ContainerSpec.from_cri(config).security.apparmor == Profile(ProfileKind.UNCONFINED)


def test_resolv_conf() -> None:
    dns = DnsConfig(("10.0.0.10", "fd00::a"), ("a.local", "b.local"), ("ndots:5",))
    assert dns.render() == (
        "search a.local b.local\nnameserver 10.0.0.10\nnameserver fd00::a\noptions ndots:5\n"
    )
    assert DnsConfig().render() == ""
