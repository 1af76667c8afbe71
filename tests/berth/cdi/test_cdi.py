"""CDI: names, documents of each version, catalogs, and what render writes."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.base.errors import InvalidArgument
from berth.cdi.catalog import Catalog
from berth.cdi.edits import CdiDevice, CdiHook, CdiMount, CdiNetDevice, Edits
from berth.cdi.names import QualifiedName, parse, requested
from berth.cdi.render import render
from berth.cdi.spec import VERSIONS, Device, Spec
from berth.cdi.spec import parse as parse_spec

FULL = Edits(
    env=("GPU=0",),
    devices=(
        CdiDevice("/dev/a", "/dev/b", "c", 195, 0, 0o666, "rw", 0, 44),
        CdiDevice("/dev/x"),
    ),
    mounts=(CdiMount("/h", "/c", ("ro", "nosuid"), "bind"),),
    hooks=(CdiHook("createContainer", "/bin/hook", ("hook", "-x"), ("A=1",), 3),),
    additional_gids=(5, 44),
    net_devices=(CdiNetDevice("eth7", "rdma0"),),
)
SPEC = Spec("vendor.com/gpu", (Device("0", FULL, {"k": "v"}),), Edits(env=("ALL=1",)), {}, "1.1.0")


@pytest.mark.parametrize(
    "text",
    ["vendor.com/class=dev", "v/c=0", "a-b.c_d/e.f=GPU-1:2:3", "nvidia.com/gpu=all", "V/C=x.y"],
)
def test_qualified_names(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "vendor.com/class", "class=dev", "/c=d", "v/=d", "v/c=", "1v/c=d", "v-/c=d", "v/c=-d",
     "v/c=d-", "v/c/e=d", "v/c=d/e", "v/c=d=e", "v/c=d e", "é/c=d", "v/c=d\n"],
)  # fmt: skip
def test_no_qualified_names(text: str) -> None:
    with pytest.raises(InvalidArgument, match="CDI device"):
        parse(text)


def test_names_from_field_and_annotations() -> None:
    annotations = {"cdi.k8s.io/plugin_1": "v.com/c=b,v.com/c=a", "other": "x"}
    names = requested(["v.com/c=a"], annotations)
    assert [str(name) for name in names] == ["v.com/c=a", "v.com/c=b"]
    with pytest.raises(InvalidArgument, match=r"annotation cdi\.k8s\.io/x"):
        requested([], {"cdi.k8s.io/x": "v.com/c=a,"})


def test_render_and_parse_are_inverse() -> None:
    assert parse_spec(render(SPEC), "f.json") == SPEC


def test_render_refuses_what_nobody_could_read() -> None:
    with pytest.raises(InvalidArgument, match=r"needs cdiVersion 1\.1\.0"):
        render(replace(SPEC, version="0.7.0"))
    with pytest.raises(InvalidArgument, match="kind"):
        render(replace(SPEC, kind="nonsense"))


def test_yaml() -> None:
    text = b"""
cdiVersion: "0.5.0"
kind: vendor.com/net
devices:
- name: eth0
  containerEdits:
    deviceNodes:
    - {path: /dev/net/tun, type: c, major: 10, minor: 200, fileMode: 438}
    hooks:
    - {hookName: prestart, path: /bin/x}
"""
    spec = parse_spec(text, "f.yaml")
    edits = spec.devices[0].edits
    assert edits.devices[0].file_mode == 0o666
    assert edits.hooks_document() == {"prestart": [{"path": "/bin/x"}]}


def _document(version: str = "1.1.0", kind: str = "v.com/c", **edits: Any) -> bytes:
    devices = [{"name": "d", "containerEdits": edits}]
    return json.dumps({"cdiVersion": version, "kind": kind, "devices": devices}).encode()


@pytest.mark.parametrize(
    ("since", "edits"),
    [
        ("0.4.0", {"mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "bind"}]}),
        ("0.5.0", {"deviceNodes": [{"path": "/dev/a", "hostPath": "/dev/b"}]}),
        ("0.7.0", {"additionalGids": [1]}),
        ("0.7.0", {"intelRdt": {"closID": "x"}}),
        ("1.1.0", {"netDevices": [{"hostInterfaceName": "a", "name": "b"}]}),
        ("1.1.0", {"intelRdt": {"schemata": ["L3:0=f"]}}),
    ],
)
def test_each_field_has_its_version(since: str, edits: dict[str, Any]) -> None:
    assert parse_spec(_document(since, **edits), "f").version == since
    before = VERSIONS[VERSIONS.index(since) - 1]
    with pytest.raises(InvalidArgument, match=f"needs cdiVersion {since}, and the file says"):
        parse_spec(_document(before, **edits), "f")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is not an object"),
        (b"[]", "is not an object"),
        (b"\xff\xfe\xfd", "neither JSON nor YAML"),
        (b"{a: b: c}", "neither JSON nor YAML"),
        (b"[" * 1200, "neither JSON nor YAML|is not an object"),
        (b"{}", "cdiVersion is empty"),
        (b'{"cdiVersion": "0.2.0"}', "cdiVersion 0.2.0 is not one of"),
        (b'{"cdiVersion": "1.0.0", "kind": "x"}', "'x' is not vendor/class"),
        (b'{"cdiVersion": "1.0.0", "kind": "a/b", "nonsense": 1}', "unknown fields: nonsense"),
        (_document("0.5.0", "v.com/a.b"), "kind needs cdiVersion 0.6.0"),
        (_document(env=["X"]), "'X' is not NAME=value"),
        (_document(env=[3]), "env is not a string"),
        (_document(env="A=B"), "env is not a list"),
        (_document(deviceNodes=[{}]), "path is empty"),
        (_document(deviceNodes=[{"path": "dev/a"}]), "not an absolute path"),
        (_document(deviceNodes=[{"path": "/a", "type": "x"}]), "is not b, c, u or p"),
        (_document(deviceNodes=[{"path": "/a", "major": -1}]), "must lie in 0"),
        (_document(deviceNodes=[{"path": "/a", "permissions": "x"}]), "letters of rwm"),
        (_document(hooks=[{"hookName": "x", "path": "/a"}]), "'x' is not one of"),
        (_document(mounts=[{"hostPath": "/a"}]), "containerPath is empty"),
        (_document(additionalGids=[True]), "not a whole number"),
        (_document(netDevices=[{"name": "x"}]), "hostInterfaceName is empty"),
        (_document(nonsense=1), "unknown fields: nonsense"),
    ],
)
def test_bad_documents(data: bytes, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        parse_spec(data, "f.json")


def test_a_device_twice() -> None:
    data = {"cdiVersion": "1.0.0", "kind": "v/c", "devices": [{"name": "d"}, {"name": "d"}]}
    with pytest.raises(InvalidArgument, match="'d' occurs twice"):
        parse_spec(json.dumps(data).encode(), "f")


def _file(kind: str, *names: str, env: str = "F") -> bytes:
    devices = tuple(Device(name, Edits(env=(f"{env}_{name}=1",))) for name in names)
    return render(Spec(kind, devices, Edits(env=(f"{env}=1",))))


DIRECTORIES = ("/etc/cdi", "/var/run/cdi")


def test_a_files_own_edits_come_once_and_first() -> None:
    catalog = Catalog.build(DIRECTORIES, [("/etc/cdi/a.json", _file("v/c", "x", "y"))])
    edits = catalog.resolve([parse("v/c=y"), parse("v/c=x")])
    assert edits.env == ("F=1", "F_y=1", "F_x=1")


def test_the_later_directory_wins() -> None:
    files = [
        ("/var/run/cdi/a.json", _file("v/c", "x", env="RUN")),
        ("/etc/cdi/a.json", _file("v/c", "x", env="ETC")),
    ]
    edits = Catalog.build(DIRECTORIES, files).resolve([parse("v/c=x")])
    assert edits.env == ("RUN=1", "RUN_x=1")


def test_conflict_in_one_directory() -> None:
    files = [(f"/etc/cdi/{n}.json", _file("v/c", "x", n)) for n in ("a", "b")]
    catalog = Catalog.build(DIRECTORIES, files)
    with pytest.raises(InvalidArgument, match=r"/etc/cdi/a\.json and /etc/cdi/b\.json both"):
        catalog.resolve([parse("v/c=x")])
    assert catalog.resolve([parse("v/c=a")]).env


def test_unknown_devices_name_the_directories_and_the_broken_files() -> None:
    files = [("/etc/cdi/bad.json", b"{}"), ("/etc/cdi/a.json", _file("v/c", "x"))]
    catalog = Catalog.build(DIRECTORIES, files)
    with pytest.raises(InvalidArgument, match=r"/etc/cdi, /var/run/cdi; not understood: .*bad"):
        catalog.resolve([QualifiedName("v/c", "z")])
    with pytest.raises(InvalidArgument, match="read were none"):
        Catalog().resolve([parse("v/c=x")])


def test_nodes_that_need_a_look_at_the_host() -> None:
    assert FULL.unknown == ("/dev/x",)
    assert Edits(devices=(CdiDevice("/dev/p", kind="p"),)).unknown == ()
    assert Edits(devices=(CdiDevice("/dev/c", kind="c"),)).unknown == ("/dev/c",)


def test_last_mount_at_a_place() -> None:
    edits = Edits(mounts=(CdiMount("/a", "/x"), CdiMount("/b", "/x")))
    assert [mount["source"] for mount in edits.mounts_document()] == ["/b"]


_FIELDS = "path hostPath type major fileMode env hookName containerPath options name"
_GROUPS = "env deviceNodes mounts hooks additionalGids intelRdt netDevices"
_LEAF = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**33)
    | st.sampled_from(["", "/dev/a", "A=B", "c", "rwm", "prestart", "v.com/c", "1.1.0", "\0", "x"])
)
_VALUE = st.recursive(
    _LEAF,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_FIELDS.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
_EDITS = st.dictionaries(
    st.sampled_from(_GROUPS.split()),
    st.lists(_VALUE, max_size=2) | _VALUE,
    max_size=3,
)


@settings(max_examples=250, deadline=None)
@given(_EDITS, st.sampled_from(VERSIONS))
def test_any_document(edits: dict[str, Any], version: str) -> None:
    try:
        spec = parse_spec(_document(version, **edits), "f.json")
    except InvalidArgument as error:
        assert "f.json" in str(error)
        return
    if spec.devices[0].edits.intel_rdt:
        with pytest.raises(InvalidArgument, match="Intel RDT"):
            render(spec)
    else:
        assert parse_spec(render(spec), "again") == spec


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(InvalidArgument, match="f"):
        parse_spec(data, "f.json")
