"""Any CRI message that is a spec composes into JSON bytes, or is refused as a BerthError."""

import json
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from berth.base.errors import BerthError
from berth.cdi.edits import CdiDevice, CdiHook, CdiMount, Edits
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import ContainerSpec, ProcessUser
from cri_shim.model.image import ImageConfig
from cri_shim.oci.document import annotations, compose, render
from cri_shim.oci.facts import (
    AppArmorFacts,
    DeviceNode,
    Facts,
    Json,
    Layout,
    PodNamespaces,
    ResolvedMount,
    Rlimit,
    RuntimeFeatures,
    SeccompFacts,
    SELinuxFacts,
)
from cri_shim.oci.process import exec_process
from cri_shim.oci.resources import resources_update
from cri_shim.oci.users import resolve
from tests.cri_shim.model import cri_messages
from tests.cri_shim.oci.oci_inputs import FACTS, V1, V2, resolved

SEEDS = st.integers(0, 2**64 - 1)
_WORDS = ("", "a", "/bin/sh", "A=B", "=", "PATH=/x", "\udcff=\udcfe", "\0", "\ud800", "x\ny")


def _image(random: Random) -> ImageConfig:
    def some() -> tuple[str, ...]:
        return tuple(random.choices(_WORDS, k=random.randrange(3)))

    return ImageConfig(some(), some(), some(), random.choice(_WORDS), random.choice(_WORDS))


def _facts(spec: ContainerSpec, random: Random) -> Facts:
    """Everything found, and then a few facts that are against the spec."""
    sound = resolved(spec, replace(FACTS, image=_image(random)))
    wishes: dict[str, tuple[object, ...]] = {
        "user": (ProcessUser(1000, 2**32 - 2, (5, 2**31)),),
        "cgroup": (V1, replace(V2, controllers=frozenset(), swap=False)),
        "namespaces": (PodNamespaces(), PodNamespaces("new", "new", "new", "new", "new")),
        "features": (RuntimeFeatures(),),
        "mounts": ((), tuple(ResolvedMount(m, "/x", frozenset({"ro"})) for m in spec.mounts)),
        "devices": ((),),
        "host_devices": ((DeviceNode("/dev/fuse", "c", 10, 229), DeviceNode("/dev/p", "p")),),
        "seccomp": (SeccompFacts(False), SeccompFacts(True, b"{}"), SeccompFacts(True, b"\xff")),
        "apparmor": (AppArmorFacts(frozenset({"x"}), "x"), AppArmorFacts(frozenset(), "x")),
        "selinux": (SELinuxFacts("u:r:t:s0", "u:r:f"), SELinuxFacts("", "")),
        "architecture": ("s390x", "vax"),
        "kernel": ((3, 10),),
        "rlimits": ((Rlimit("RLIMIT_NOFILE", 5, 10),),),
        "cdi": (
            Edits(env=("A=\udc00",), devices=(CdiDevice("/dev/x"),)),
            Edits(mounts=(CdiMount("/", "/"),), intel_rdt=True),
            Edits(hooks=(CdiHook("poststart", "/x"),), mounts=(CdiMount("/a", "/data"),)),
        ),
        "allowed_annotations": (("*",),),
    }
    chosen = random.sample(sorted(wishes), random.randrange(5))
    return replace(sound, **{name: random.choice(wishes[name]) for name in chosen})


@settings(max_examples=5000, deadline=None)
@given(SEEDS)
def test_any_container(seed: int) -> None:
    message = cri_messages.random_message(cri.ContainerConfig, cri_messages.container, seed)
    random = Random(seed)
    try:
        spec = ContainerSpec.from_cri(message)
        facts = _facts(spec, random)
        document = compose(spec, facts)
    except BerthError as error:
        assert str(error)
        return
    data = render(document)
    assert json.loads(data).keys() == document.keys()
    _check_sound(spec, facts, document)
    assert exec_process(document, ["true"], tty=True)["args"] == ["true"]
    assert isinstance(resources_update(spec.resources, facts.cgroup), dict)


def _check_sound(spec: ContainerSpec, facts: Facts, document: Json) -> None:
    """What holds of every document."""
    process, linux = document["process"], document["linux"]
    assert process["args"][0]
    assert process["cwd"].startswith("/")
    assert all("\0" not in entry and "=" in entry for entry in process["env"])
    places = [mount["destination"] for mount in document["mounts"]]
    assert places == sorted(places, key=lambda place: place.count("/"))
    capabilities = process["capabilities"]
    assert set(capabilities.get("ambient", ())) <= set(capabilities["permitted"])
    assert set(capabilities["permitted"]) <= facts.known_capabilities
    assert ("seccomp" in linux) <= (not spec.security.privileged)
    rules = linux["resources"]["devices"]
    assert rules[0]["allow"] is spec.security.privileged
    if facts.cgroup.layout is Layout.V1:
        assert "unified" not in linux["resources"]
    assert annotations(spec, facts) == document["annotations"]


@settings(max_examples=600, deadline=None)
@given(SEEDS, st.binary(max_size=200), st.binary(max_size=200), st.text(max_size=20))
def test_any_user(seed: int, passwd: bytes, group: bytes, image_user: str) -> None:
    message = cri_messages.random_message(cri.ContainerConfig, cri_messages.container, seed)
    random = Random(seed)
    accounts = b"root:x:0:0::/:/bin/sh\na:x:1000:50:\n" if random.random() < 0.5 else b""
    try:
        spec = ContainerSpec.from_cri(message)
        user = resolve(spec.security, image_user, accounts + passwd, b"g:x:50:a\n" + group)
    except BerthError as error:
        assert str(error)
        return
    assert user.groups[0] == user.gid
    assert 0 <= user.uid < 2**32 - 1
