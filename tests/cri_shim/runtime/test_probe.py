"""Handlers are chosen by trying them."""

from pathlib import Path

import pytest

from berth.base.errors import RuntimeFailure
from cri_shim.runtime import features, probe
from cri_shim.runtime.handler import Handler


async def test_a_working_runtime_leaves_nothing_but_its_directories(
    handler: Handler, place: Path
) -> None:
    directory = place / "probing"
    directory.mkdir(exist_ok=True)
    group = f"{place.name}-probe"
    root = place / "probed" / handler.kind
    found = await probe.probe("default", handler.binary, root, directory, cgroups_path=f"/{group}")
    assert found.kind == handler.kind
    assert found.features.version
    assert found.features.recursive_readonly
    assert list(directory.iterdir()) == []
    assert list(found.root.iterdir()) == []
    assert list(found.scratch.iterdir()) == []
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{group}"))


async def test_the_default_is_one_that_works(place: Path) -> None:
    directory = place / "choosing"
    directory.mkdir(exist_ok=True)
    found = await probe.choose_default(place / "chosen", directory)
    assert found.name == found.kind


async def test_a_refusal_gives_the_runtimes_words(tmp_path: Path) -> None:
    binary = tmp_path / "crun"
    binary.write_text(
        '#!/bin/sh\ncase "$*" in *--version*) echo crun version 1.8.1;;'
        " *) echo cgroups in moon mode not supported >&2; exit 1;; esac\n"
    )
    binary.chmod(0o755)
    with pytest.raises(RuntimeFailure, match=r"crun cannot run .*: cgroups in moon mode not supp"):
        await probe.probe("odd", str(binary), tmp_path / "root", tmp_path)
    assert not list(tmp_path.glob("berth-probe-*"))


async def test_what_is_no_runtime_is_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeFailure, match="/bin/echo is neither crun nor runc"):
        await probe.probe("odd", "/bin/echo", tmp_path / "root", tmp_path)
    with pytest.raises(RuntimeFailure, match=r"handler 'odd': kata-runtime is not installed"):
        await probe.probe("odd", "kata-runtime", tmp_path / "root", tmp_path)


def test_features_of_a_document() -> None:
    document = {
        "mountOptions": ["ro", "rro"],
        "linux": {
            "seccomp": {"enabled": True},
            "apparmor": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {"org.opencontainers.runc.checkpoint.enabled": "true"},
    }
    found = features.from_document(document, "1.2.0")
    assert found.recursive_readonly and found.user_namespaces and found.seccomp
    assert found.checkpoint
    assert not found.apparmor and not found.selinux
    nothing = features.from_document({"linux": {"seccomp": None}}, "1")
    assert not nothing.seccomp and not nothing.user_namespaces


def test_features_by_version() -> None:
    old = features.from_version("crun", "1.3", "+SECCOMP")
    assert not old.recursive_readonly and old.seccomp and not old.checkpoint
    assert features.from_version("crun", "1.8.1", "+CRIU").user_namespaces
    assert not features.from_version("runc", "1.0.3", "").user_namespaces
