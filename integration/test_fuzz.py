"""Random and mutated requests through the socket: each is answered, or refused in words.

Never the text of a traceback, never UNKNOWN or INTERNAL for a field, never anything left behind.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.pb import runtime_v1_pb2 as cri
from tests.cri_shim.model import cri_messages
from tests.support import pods
from tests.support.shim import Shim

SEEDS = st.integers(0, 2**64 - 1)
Code = grpc.StatusCode
REFUSALS = frozenset(
    {
        Code.INVALID_ARGUMENT,
        Code.NOT_FOUND,
        Code.ALREADY_EXISTS,
        Code.FAILED_PRECONDITION,
        Code.UNIMPLEMENTED,
        Code.RESOURCE_EXHAUSTED,
    }
)
TIMEOUT = 30.0
SERVICES = ("RuntimeService", "ImageService")
HANDLERS = ("runc", "crun")
NOBODYS = ("none", "", "../..", "x\0y", "é" * 30)
PARENT = f"/berth-fuzz-{os.getpid()}"
RUNTIME = re.compile("cannot (create|start) container [0-9a-f]{64}: (runc|crun): ")
"""What users read of a command that cannot run: kubelet shows UNKNOWN's text, and no other's."""
ELSEWHERE = frozenset(
    {"RunPodSandbox", "CreateContainer", "PullImage", "StartContainer", "GetContainerEvents"}
)
"""Calls with tests of their own."""
IDS = frozenset({"container_id", "pod_sandbox_id", "id", "container_ids", "target_id"})
UNSAFE = frozenset({"location", "output_path", "checkpoint_path"})
"""Fields with paths that the daemon would write to."""


def many(count: int) -> Callable[[Any], Any]:
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def ready(shim: Shim) -> dict[str, str]:
    """A ready pod of each handler."""
    return {handler: pods.run_pod(shim, handler=handler) for handler in HANDLERS}


@pytest.fixture(scope="module")
def ids(shim: Shim, image: str, ready: dict[str, str]) -> list[str]:
    """Ids that a request may name: of two containers, one by a part of it, two pods, none."""
    pod = ready["runc"]
    running = pods.run_container(shim, pod, pods.container_config(image))
    exited = pods.run_container(shim, pod, pods.container_config(image, name="exited"))
    pods.stop(shim, exited)
    return [running, exited, running[:30], *ready.values(), *NOBODYS]


@pytest.fixture(scope="module", autouse=True)
def nothing_left(shim: Shim, ids: list[str]) -> Iterator[None]:
    before = set(shim.leftovers())
    yield
    assert set(shim.leftovers()) <= before
    assert not list(Path("/sys/fs/cgroup").glob(f"*{PARENT}*"))
    assert "Traceback" not in shim.log.read_text()


def answered(call: Callable[[], Any], what: object, runtime_may_refuse: bool = False) -> Any:
    """The answer, or None where it was refused as it should be."""
    try:
        return call()
    except grpc.RpcError as error:
        text = error.details() or ""
        words = runtime_may_refuse and error.code() is Code.UNKNOWN and RUNTIME.match(text)
        assert error.code() in REFUSALS or words, (error.code(), text, what)
        assert text and "Traceback" not in text and "cri-shim failed" not in text, (text, what)
        return None


# What a container's or a pod's author may write, against an image that is not there or a handler
# that does not exist: refused at the latest after all fields have been looked at.


@many(2400)
@given(SEEDS)
def test_container_configs(shim: Shim, ready: dict[str, str], seed: int) -> None:
    config: Any = cri_messages.random_message(cri.ContainerConfig, cri_messages.container, seed)
    pod = ready[HANDLERS[seed % 2]]
    request = cri.CreateContainerRequest(pod_sandbox_id=pod, config=config)
    create = shim.runtime.CreateContainer
    assert answered(lambda: create(request, timeout=TIMEOUT), config) is None


@many(1000)
@given(SEEDS)
def test_pod_configs(shim: Shim, seed: int) -> None:
    config: Any = cri_messages.random_message(cri.PodSandboxConfig, cri_messages.sandbox, seed)
    request = cri.RunPodSandboxRequest(config=config, runtime_handler="none")
    run = shim.runtime.RunPodSandbox
    assert answered(lambda: run(request, timeout=TIMEOUT), config) is None


# Every other call.


def _methods() -> list[tuple[str, str]]:
    services = cri.DESCRIPTOR.services_by_name
    return [
        (service, method.name)
        for service in SERVICES
        for method in services[service].methods
        if method.name not in ELSEWHERE
    ]


METHODS = _methods()


@many(1600)
@given(SEEDS)
def test_every_other_call(shim: Shim, ids: list[str], seed: int) -> None:
    random = Random(seed)
    service, name = METHODS[seed % len(METHODS)]
    method = cri.DESCRIPTOR.services_by_name[service].methods_by_name[name]
    kind = GetMessageClass(method.input_type)
    request = cri_messages.random_message(kind, None, seed)
    tame(request, random, list(NOBODYS) if name.startswith(("Stop", "Remove")) else ids)
    stub = shim.runtime if service == SERVICES[0] else shim.images
    if method.server_streaming:
        answered(lambda: first(getattr(stub, name)(request, timeout=TIMEOUT)), (name, request))
    else:
        answered(lambda: getattr(stub, name)(request, timeout=TIMEOUT), (name, request))


def tame(message: Message, random: Random, ids: list[str]) -> None:
    """Ids from `ids`, no waiting, no command that runs long, no path of this host to write to."""
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.name in IDS and field.is_repeated:
            value[:] = random.sample(ids, 2)
        elif field.name in IDS:
            setattr(message, field.name, random.choice(ids))
        elif field.name in UNSAFE or field.name == "image":
            message.ClearField(field.name)
        elif field.name == "timeout":
            setattr(message, field.name, random.choice((0, -1, 20, -(2**62))))
        elif field.name == "cmd":
            value[:] = random.choice(([], ["/bin/true"], ["\0"]))
        elif field.message_type is not None and not field.is_repeated:
            tame(value, random, ids)


def first(stream: Any) -> Any:
    """The first of a stream that may have no end."""
    return next(iter(stream), None)


@many(400)
@given(st.binary(max_size=60), st.integers(0, 2**32))
def test_bytes_that_are_no_message(shim: Shim, data: bytes, number: int) -> None:
    service, name = METHODS[number % len(METHODS)]
    if cri.DESCRIPTOR.services_by_name[service].methods_by_name[name].server_streaming:
        name, service = "Version", SERVICES[0]
    kind = cri.DESCRIPTOR.services_by_name[service].methods_by_name[name].input_type
    with contextlib.suppress(Exception):
        GetMessageClass(kind).FromString(data)
        return  # it is one, by luck: the test above is about those
    call = shim.channel.unary_unary(f"/runtime.v1.{service}/{name}", bytes, bytes)
    assert answered(lambda: call(data, timeout=TIMEOUT), (name, data)) is None


# Requests that really make something, as long as they are sound.


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("fuzz")
    for name in ("data", "dev", "etc", "srv/data"):
        (directory / name).mkdir(parents=True)
    (directory / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return directory


def harmless(config: Any, sources: Path) -> None:
    """Host paths go below a directory of this test's own."""
    for mount in config.mounts:
        if mount.host_path.startswith("/"):
            mount.host_path = str(sources) + os.path.normpath(mount.host_path)


@many(400)
@given(SEEDS)
def test_containers(
    shim: Shim, image: str, ready: dict[str, str], sources: Path, seed: int
) -> None:
    config: Any = cri_messages.random_message(cri.ContainerConfig, lambda: container(image), seed)
    harmless(config, sources)
    before = made(shim)
    pod = ready[HANDLERS[seed % 2]]
    request = cri.CreateContainerRequest(pod_sandbox_id=pod, config=config)
    create = shim.runtime.CreateContainer
    spoilt = process(config) != process(container(image))
    answer = answered(lambda: create(request, timeout=TIMEOUT), config, spoilt)
    if answer is not None:
        start = cri.StartContainerRequest(container_id=answer.container_id)
        answered(lambda: shim.runtime.StartContainer(start, timeout=TIMEOUT), config, spoilt)
        remove = cri.RemoveContainerRequest(container_id=answer.container_id)
        shim.runtime.RemoveContainer(remove, timeout=TIMEOUT)
    assert made(shim) == before, config


def container(image: str) -> cri.ContainerConfig:
    config = cri_messages.container()
    config.image.image = image
    config.linux.security_context.namespace_options.network = cri.NODE
    return config


def process(config: cri.ContainerConfig) -> tuple[object, ...]:
    """What the OCI runtime alone can judge, for it looks inside the container."""
    environment = [(e.key, e.value) for e in config.envs if e.key == "PATH"]
    return list(config.command), list(config.args), config.working_dir, environment


@many(400)
@given(SEEDS)
def test_pods(shim: Shim, sources: Path, seed: int) -> None:
    config: Any = cri_messages.random_message(cri.PodSandboxConfig, sandbox, seed)
    if config.log_directory.startswith("/"):
        config.log_directory = str(sources / "logs")
    if config.linux.cgroup_parent:
        config.linux.cgroup_parent = PARENT + config.linux.cgroup_parent.replace("/", "-")
    before = made(shim)
    request = cri.RunPodSandboxRequest(config=config)
    answer = answered(lambda: shim.runtime.RunPodSandbox(request, timeout=TIMEOUT), config)
    if answer is not None:
        remove = cri.RemovePodSandboxRequest(pod_sandbox_id=answer.pod_sandbox_id)
        shim.runtime.RemovePodSandbox(remove, timeout=TIMEOUT)
    assert made(shim) == before, config


def sandbox() -> cri.PodSandboxConfig:
    """No ports: this daemon gives pods no network."""
    config = cri_messages.sandbox()
    config.ClearField("port_mappings")
    return config


def made(shim: Shim) -> list[str]:
    """What is left of pods and containers, without a look at all processes."""
    directories = (shim.state / "pods", shim.state / "containers", shim.root / "containers")
    return shim.mounts() + [
        str(entry) for directory in directories for entry in directory.iterdir()
    ]
