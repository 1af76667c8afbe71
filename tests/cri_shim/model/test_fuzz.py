"""Any CRI message becomes a value or is refused with InvalidArgument; nothing else happens."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.base.errors import InvalidArgument
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import ContainerSpec
from cri_shim.model.resources import LinuxResources
from cri_shim.model.sandbox import SandboxSpec
from tests.cri_shim.model import cri_messages

SEEDS = st.integers(0, 2**64 - 1)


@settings(max_examples=1500, deadline=None)
@given(SEEDS)
def test_container_config(seed: int) -> None:
    message = cri_messages.random_message(cri.ContainerConfig, cri_messages.container, seed)
    try:
        spec = ContainerSpec.from_cri(message)
    except InvalidArgument as error:
        assert str(error)
        return
    assert spec.name
    assert spec == ContainerSpec.from_cri(message)


@settings(max_examples=1500, deadline=None)
@given(SEEDS)
def test_sandbox_config(seed: int) -> None:
    message = cri_messages.random_message(cri.PodSandboxConfig, cri_messages.sandbox, seed)
    try:
        spec = SandboxSpec.from_cri(message, "runc")
    except InvalidArgument as error:
        assert str(error)
        return
    assert spec.metadata.unique


@settings(max_examples=1000, deadline=None)
@given(SEEDS)
def test_resources_come_back_as_they_went(seed: int) -> None:
    message = cri_messages.random_message(cri.LinuxContainerResources, None, seed)
    try:
        resources = LinuxResources.from_cri(message, "config.linux.resources")
    except InvalidArgument as error:
        assert "config.linux.resources" in str(error)
        return
    assert LinuxResources.from_cri(resources.to_cri(), "x") == resources


def test_sound_messages_are_accepted() -> None:
    assert ContainerSpec.from_cri(cri_messages.container()).envs == (("LANG", b"C\xff"),)
    assert SandboxSpec.from_cri(cri_messages.sandbox(), "").hostname == "pod"


@pytest.mark.parametrize("name", ["all", "ALL", "CAP_ALL", "cap_all"])
def test_all_capabilities_by_any_name(name: str) -> None:
    config = cri_messages.container()
    del config.linux.security_context.capabilities.add_capabilities[:]
    config.linux.security_context.capabilities.add_capabilities.append(name)
    assert ContainerSpec.from_cri(config).security.capabilities.add == ("ALL",)
