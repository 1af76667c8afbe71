"""Seccomp profiles: which filter the first process and those of exec have, and what it blocks."""

import json
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

KINDS = cri.SecurityProfile
USERNS = "unshare -U true && echo made || echo not made"
"""A call that anybody may make, and that the default profile takes from containers."""
STATUS = "grep -m1 Seccomp: /proc/1/status; grep -m1 Seccomp: /proc/self/status"


def filtered() -> cri.PodSandboxConfig:
    """A pod that may hold privileged containers, under the runtime's own seccomp profile."""
    config = pods.privileged()
    config.linux.security_context.seccomp.profile_type = KINDS.RuntimeDefault
    return config


pytestmark = pytest.mark.pod(config=filtered)


def run(shim: Shim, pod: str, config: cri.ContainerConfig, script: str) -> list[str]:
    """The lines of what the script prints, in a container of its own that goes away again."""
    container = pods.run_container(shim, pod, config)
    answer = pods.execute(shim, container, "/bin/sh", "-c", f"{script}; {STATUS}")
    shim.runtime.RemoveContainer(cri.RemoveContainerRequest(container_id=container))
    return str(answer.stdout.decode()).splitlines()


FILTERED = ["Seccomp:\t2"] * 2
FREE = ["Seccomp:\t0"] * 2


def profile(directory: Path, **more: object) -> str:
    """A profile that lets everything but making directories pass."""
    calls = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]
    path = directory / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls, **more}))
    return str(path)


def test_runtime_default(shim: Shim, pod: str, config: cri.ContainerConfig) -> None:
    config.linux.security_context.seccomp.profile_type = KINDS.RuntimeDefault
    assert run(shim, pod, config, USERNS) == ["not made", *FILTERED]


def test_runtime_default_follows_the_capabilities(
    shim: Shim, pod: str, config: cri.ContainerConfig
) -> None:
    context = config.linux.security_context
    context.seccomp.profile_type = KINDS.RuntimeDefault
    context.capabilities.add_capabilities.append("SYS_ADMIN")
    assert run(shim, pod, config, USERNS) == ["made", *FILTERED]


@pytest.mark.parametrize("said", [False, True], ids=["nil", "unconfined"])
def test_unconfined(shim: Shim, pod: str, config: cri.ContainerConfig, said: bool) -> None:
    if said:
        config.linux.security_context.seccomp.profile_type = KINDS.Unconfined
    assert run(shim, pod, config, USERNS) == ["made", *FREE]


def test_localhost(shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path) -> None:
    seccomp = config.linux.security_context.seccomp
    seccomp.profile_type = KINDS.Localhost
    seccomp.localhost_ref = profile(tmp_path)
    script = "mkdir /tmp/d 2>&1; touch /tmp/f && echo fine"
    said, *rest = run(shim, pod, config, script)
    assert "No space left on device" in said
    assert rest == ["fine", *FILTERED]


def test_a_privileged_container_has_no_filter(
    shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path
) -> None:
    context = config.linux.security_context
    context.privileged = True
    context.seccomp.profile_type = KINDS.Localhost
    context.seccomp.localhost_ref = profile(tmp_path)
    assert run(shim, pod, config, "mkdir /tmp/d && echo fine") == ["fine", *FREE]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("runtime/default", ["not made", *FILTERED]),
        ("docker/default", ["not made", *FILTERED]),
        ("unconfined", ["made", *FREE]),
        ("", ["made", *FREE]),
    ],
)
def test_the_deprecated_field(
    shim: Shim, pod: str, config: cri.ContainerConfig, text: str, found: list[str]
) -> None:
    config.linux.security_context.seccomp_profile_path = text
    assert run(shim, pod, config, USERNS) == found


def test_the_deprecated_field_with_a_file(
    shim: Shim, pod: str, config: cri.ContainerConfig, tmp_path: Path
) -> None:
    context = config.linux.security_context
    context.seccomp_profile_path = f"localhost/{profile(tmp_path)}"
    assert "No space left" in run(shim, pod, config, "mkdir /tmp/d 2>&1")[0]
    context.seccomp.profile_type = KINDS.Unconfined
    assert run(shim, pod, config, "mkdir /tmp/d && echo the new one counts")[1:] == FREE


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (None, "does not exist"),
        ("{", "is not JSON"),
        ('{"defaultAction": "SCMP_ACT_MAYBE"}', "SCMP_ACT_MAYBE"),
        ("[]", "seccomp profile"),
    ],
)
def test_a_profile_that_cannot_be_used(
    shim: Shim,
    pod: str,
    config: cri.ContainerConfig,
    tmp_path: Path,
    content: str | None,
    word: str,
) -> None:
    path = tmp_path / "bad.json"
    if content is not None:
        path.write_text(content)
    seccomp = config.linux.security_context.seccomp
    seccomp.profile_type = KINDS.Localhost
    seccomp.localhost_ref = str(path)
    code, text = pods.refused_create(shim, pod, config)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert str(path) in text
    assert word in text


@pytest.mark.parametrize("text", ["localhost/", "runtime", "/etc/profile.json"])
def test_a_deprecated_field_that_means_nothing(
    shim: Shim, pod: str, config: cri.ContainerConfig, text: str
) -> None:
    config.linux.security_context.seccomp_profile_path = text
    code, said = pods.refused_create(shim, pod, config)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "seccomp (deprecated form)" in said


@pytest.mark.parametrize(
    ("path", "word"), [("/etc", "not a file"), ("/dev/zero", "not a file"), ("p.json", "absolute")]
)
def test_what_is_no_profile_at_all(
    shim: Shim, pod: str, config: cri.ContainerConfig, path: str, word: str
) -> None:
    seccomp = config.linux.security_context.seccomp
    seccomp.profile_type = KINDS.Localhost
    seccomp.localhost_ref = path
    code, text = pods.refused_create(shim, pod, config)
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert path in text
    assert word in text
