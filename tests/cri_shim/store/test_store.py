"""Records on disk: they come back as they were, names are unique, newer files are refused."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from berth.base.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import Container, ContainerSpec, MountStatus, ProcessUser
from cri_shim.model.ids import ContainerId, ImageId, SandboxId
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox, SandboxSpec
from cri_shim.store.migrations import MIGRATIONS
from cri_shim.store.store import Store

A, B = "a" * 64, "ab" + "b" * 62


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "state.db")
    yield opened
    opened.close()


def sandbox(id_: str = A, name: str = "pod") -> Sandbox:
    config = cri.PodSandboxConfig(
        metadata=cri.PodSandboxMetadata(name=name, uid="u", namespace="n", attempt=1),
        labels={"k": "v"},
    )
    config.linux.resources.cpu_shares = 100
    return Sandbox(
        id=SandboxId(id_),
        spec=SandboxSpec.from_cri(config, "runc"),
        state=SandboxState.CREATING,
        created_at=5,
        handler="runc",
        ips=("10.0.0.2", "fd00::2"),
        network={"implementation": "bridge", "deep": {"a": [1]}},
        netns="/run/ns",
        cgroup="/pod",
        cgroup_made=True,
        boot="boot",
        config=config.SerializeToString(),
    )


def container(id_: str = B, name: str = "c") -> Container:
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=name),
        image=cri.ImageSpec(image="busybox"),
        envs=[cri.KeyValue(key="K", value=b"\xff\xfe")],
        mounts=[cri.Mount(container_path="/a", host_path="/b")],
    )
    spec = ContainerSpec.from_cri(config)
    return Container(
        id=ContainerId(id_),
        sandbox_id=SandboxId(A),
        spec=spec,
        state=ContainerState.CREATING,
        created_at=6,
        image_id=ImageId("sha256:" + "0" * 64),
        image_name="busybox",
        handler="runc",
        pid=7,
        pid_start=8,
        user=ProcessUser(1, 2, (3, 4)),
        resources=spec.resources,
        mounts=(MountStatus(spec.mounts[0], "sha256:x"),),
        image_mounts=("sha256:x",),
        boot="boot",
        config=config.SerializeToString(),
    )


def test_records_come_back_as_they_were(store: Store, tmp_path: Path) -> None:
    store.add_sandbox(sandbox())
    store.add_container(container())
    again = Store(tmp_path / "state.db")
    assert again.view.sandboxes == {A: sandbox()}
    assert again.view.containers == {B: container()}
    assert again.view.containers_of(SandboxId(A)) == {B: container()}
    again.close()


def test_a_view_never_changes(store: Store) -> None:
    before = store.view
    store.add_sandbox(sandbox())
    middle = store.view
    store.update_sandbox(sandbox().id, lambda now: replace(now, state=SandboxState.READY))
    assert before.sandboxes == {}
    assert middle.sandboxes[SandboxId(A)].state is SandboxState.CREATING
    assert store.view.sandboxes[SandboxId(A)].state is SandboxState.READY


def test_names_are_unique(store: Store) -> None:
    store.add_sandbox(sandbox())
    with pytest.raises(AlreadyExists, match=r"n/pod .uid u, attempt 1. exists already"):
        store.add_sandbox(sandbox(B))
    store.delete_sandbox(SandboxId(A))
    store.add_sandbox(sandbox(B))
    store.add_container(container())
    with pytest.raises(AlreadyExists, match="container c attempt 0 exists already"):
        store.add_container(container("c" * 64))


def test_moves_outside_the_table_are_refused(store: Store) -> None:
    store.add_container(container())
    with pytest.raises(FailedPrecondition, match="cannot become exited"):
        store.update_container(
            container().id, lambda now: replace(now, state=ContainerState.EXITED)
        )
    assert store.view.containers[ContainerId(B)].state is ContainerState.CREATING


def test_beginnings_of_ids(store: Store) -> None:
    store.add_sandbox(sandbox(A, "one"))
    store.add_sandbox(sandbox("ab" + "c" * 62, "two"))
    assert store.view.sandbox("aa").spec.metadata.name == "one"
    with pytest.raises(InvalidArgument, match="beginning of 2 ids"):
        store.view.sandbox("a")
    for missing in ("zz", ""):
        with pytest.raises(NotFound):
            store.view.sandbox(missing)


def test_one_bad_row_does_not_stop_the_node(store: Store, tmp_path: Path) -> None:
    store.add_sandbox(sandbox())
    store.add_container(container())
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute("UPDATE containers SET document = '{'")
    db.close()
    again = Store(tmp_path / "state.db")
    assert list(again.view.sandboxes) == [A]
    assert [id_ for id_, _ in again.broken] == [B]
    again.forget_broken(B)
    again.close()
    assert Store(tmp_path / "state.db").broken == []


def test_a_newer_schema_is_refused_and_kept(store: Store, tmp_path: Path) -> None:
    store.close()
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    db.close()
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(FailedPrecondition, match="run the newer cri-shim"):
        Store(tmp_path / "state.db")
    assert (tmp_path / "state.db").read_bytes() == before


def test_documents_and_transactions(store: Store) -> None:
    leases = store.documents("lease")
    leases.put("k", {"a": 1}, durable=True)
    store.documents("other").put("k", {"b": 2})
    assert leases.all() == {"k": {"a": 1}}
    with pytest.raises(RuntimeError), store.transaction():
        leases.put("k", {"a": 2})
        raise RuntimeError
    assert leases.get("k") == {"a": 1}
    leases.delete("k")
    leases.delete("k")
    assert leases.get("k") is None
