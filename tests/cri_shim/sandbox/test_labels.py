"""Labels of pods: levels that are nobody else's, options over the policy's contexts, records."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from berth.base.errors import InvalidArgument, ResourceExhausted
from berth.linux.selinux import Contexts
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import ContainerSpec, MountSpec, ProcessUser
from cri_shim.model.ids import SandboxId
from cri_shim.model.image import ImageConfig
from cri_shim.model.lifecycle import SandboxState
from cri_shim.model.sandbox import Sandbox, SandboxSpec
from cri_shim.model.security import ContainerSecurity, SELinuxLabel
from cri_shim.oci.facts import Facts, ResolvedMount, SELinuxFacts
from cri_shim.sandbox import labels
from cri_shim.sandbox.labels import choose_level, pod_labels, relabel
from cri_shim.store import codec

HOST = Contexts("system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0")
ATTRIBUTE = "user.label"


def pod(level: str = "", privileged: bool = False, **options: str) -> Sandbox:
    config = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="p", uid="u"))
    security = config.linux.security_context
    security.privileged = privileged
    security.selinux_options.CopyFrom(cri.SELinuxOption(**options))
    return Sandbox(
        id=SandboxId("a" * 64),
        spec=SandboxSpec.from_cri(config, ""),
        state=SandboxState.READY,
        created_at=1,
        handler="runc",
        selinux_level=level,
        config=config.SerializeToString(),
    )


def test_every_pair_is_drawn_once() -> None:
    pairs = {labels._pair(number) for number in range(labels.PAIRS)}
    assert len(pairs) == labels.PAIRS
    assert all(0 <= low < high < labels.CATEGORIES for low, high in pairs)


def test_levels_are_unique() -> None:
    """Though the draw is the same every time."""
    pods: list[Sandbox] = []
    for _ in range(100):
        pods.append(pod(choose_level(HOST, pod().spec, pods, lambda _: 1000)))
    assert len({p.selinux_level for p in pods}) == 100
    assert pods[0].selinux_level == "s0:c0,c1001"


def test_a_level_written_otherwise_is_taken_too() -> None:
    assert choose_level(HOST, pod().spec, [pod("s0:c1,c0")], lambda _: 0) == "s0:c0,c2"


def test_all_levels_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "PAIRS", 2)
    pods = [pod("s0:c0,c1"), pod("s0:c0,c2")]
    with pytest.raises(ResourceExhausted, match="SELinux levels"):
        choose_level(HOST, pod().spec, pods, lambda _: 1)


@pytest.mark.parametrize(
    ("host", "wanted", "level"),
    [
        (None, pod(), ""),
        (HOST, pod(privileged=True), ""),
        (HOST, pod(level="s0:c7,c9"), "s0:c0,c1"),
        (HOST, pod(type="own_t"), "s0:c0,c1"),
        (Contexts("u:r:t", "u:r:f"), pod(), ""),
        (Contexts("u:r:t:s1-s3:c0.c1023", "u:r:f:s1"), pod(), "s1:c0,c1"),
    ],
)
def test_level(host: Contexts | None, wanted: Sandbox, level: str) -> None:
    assert choose_level(host, wanted.spec, [], lambda _: 0) == level


def test_a_level_asked_for_may_be_anothers() -> None:
    config = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="p"))
    config.linux.security_context.selinux_options.level = "s0:c1,c2"
    spec = SandboxSpec.from_cri(config, "")
    assert choose_level(HOST, spec, [pod("s0:c1,c2")], lambda _: 0) == "s0:c1,c2"


def test_labels() -> None:
    assert pod_labels(None, pod("s0:c1,c2")) is None
    assert pod_labels(HOST, pod("s0:c1,c2", privileged=True)) is None
    assert pod_labels(HOST, pod("s0:c1,c2")) == SELinuxFacts(
        "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"
    )
    assert pod_labels(HOST, pod("s0:c1,c2", type="own_t", role="r", user="u")) == SELinuxFacts(
        "u:r:own_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"
    )
    assert pod_labels(HOST, pod()) == SELinuxFacts(HOST.process, HOST.file)


def test_record() -> None:
    kept = pod("s0:c1,c2")
    document = codec.sandbox_document(kept)
    assert codec.sandbox_from(kept.id, "ready", document, kept.config) == kept
    old = json.loads(document)
    del old["selinux_level"]
    found = codec.sandbox_from(kept.id, "ready", json.dumps(old), kept.config)
    assert found == replace(kept, selinux_level="")


def facts(*mounts: ResolvedMount, labelled: bool = True) -> Facts:
    return Facts(
        rootfs="/",
        image=ImageConfig(),
        user=ProcessUser(0, 0, ()),
        cgroups_path="",
        capabilities=frozenset(),
        known_capabilities=frozenset(),
        mounts=mounts,
        selinux=SELinuxFacts("u:r:t:s0:c1,c2", "u:o:f:s0:c1,c2") if labelled else None,
    )


def mount(path: Path | str, wish: bool = True) -> ResolvedMount:
    return ResolvedMount(MountSpec("/data", host_path=str(path), relabel=wish), str(path))


def test_volumes_that_ask_for_it(tmp_path: Path) -> None:
    """A container's own level goes to its volumes; the privileged have no label to give."""
    for name in "ab":
        (tmp_path / name).mkdir()
    found = facts(mount(tmp_path / "a"), mount(tmp_path / "b", wish=False))
    spec = ContainerSpec("c", 0, "image")
    relabel(replace(spec, security=ContainerSecurity(privileged=True)), found, ATTRIBUTE)
    relabel(spec, replace(found, selinux=None), ATTRIBUTE)
    assert ATTRIBUTE not in os.listxattr(tmp_path / "a")
    relabel(spec, found, ATTRIBUTE)
    assert os.getxattr(tmp_path / "a", ATTRIBUTE) == b"u:o:f:s0:c1,c2\0"
    own = ContainerSecurity(selinux=SELinuxLabel(level="s0:c3,c4", type="own_t"))
    relabel(replace(spec, security=own), found, ATTRIBUTE)
    assert os.getxattr(tmp_path / "a", ATTRIBUTE) == b"u:o:f:s0:c3,c4\0"
    assert ATTRIBUTE not in os.listxattr(tmp_path / "b")


def test_a_volume_that_cannot_have_it(tmp_path: Path) -> None:
    found = facts(mount(tmp_path), mount("/etc"))
    with pytest.raises(InvalidArgument, match=r"config\.mounts\[1\].*'/etc'.*u:o:f:s0:c1,c2"):
        relabel(ContainerSpec("c", 0, "image"), found, ATTRIBUTE)
