"""SELinux options on a host without it: checked, and otherwise nothing."""

import os

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim


def labelled_pod() -> cri.PodSandboxConfig:
    config = pods.pod_config()
    options = config.linux.security_context.selinux_options
    options.type, options.level = "container_t", "s0:c1,c2"
    return config


pytestmark = pytest.mark.pod(config=labelled_pod)


def labelled(image: str, **fields: str) -> cri.ContainerConfig:
    config = pods.container_config(image)
    for name, value in fields.items():
        setattr(config.linux.security_context.selinux_options, name, value)
    return config


@pytest.mark.parametrize(
    "fields",
    [
        {"level": "s0:c4,c5"},
        {"level": "s0-s0:c0.c1023"},
        {"user": "system_u", "role": "system_r", "type": "container_t", "level": "s0"},
    ],
)
def test_well_formed_options(shim: Shim, pod: str, image: str, fields: dict[str, str]) -> None:
    assert not os.path.exists("/sys/fs/selinux/enforce"), "written for hosts without SELinux"
    container = pods.run_container(shim, pod, labelled(image, **fields))
    assert pods.execute(shim, container, "true").exit_code == 0
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))


def test_a_pods_options(shim: Shim) -> None:
    config = pods.pod_config()
    config.linux.security_context.selinux_options.level = "secret"
    with pytest.raises(grpc.RpcError) as error:
        pods.run_pod(shim, config)
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "selinux_options.level" in (error.value.details() or "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("level", "gs0:c1"),
        ("level", "s0:c1,c"),
        ("user", "a b"),
        ("role", "a:b"),
        ("type", "über"),
    ],
)
def test_options_that_are_none(shim: Shim, pod: str, image: str, field: str, value: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        pods.create(shim, pod, labelled(image, **{field: value}))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"selinux_options.{field}" in (error.value.details() or "")
