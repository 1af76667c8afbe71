"""A state directory that an earlier version wrote opens, and everything in it is understood.

`tests/golden/state/cri_shim_schema_1.sql` is the dump of a database as version 0.1 wrote it: one
ready pod on the native bridge with one running container, its image, layer and lease.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cri_shim.images.content.records import Layer, StoredImage
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.store.store import Store

DUMP = Path(__file__).parents[2] / "golden" / "state" / "cri_shim_schema_1.sql"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    database = sqlite3.connect(tmp_path / "state.db")
    database.executescript(DUMP.read_text())
    database.close()
    opened = Store(tmp_path / "state.db")
    yield opened
    opened.close()


def test_pods_and_containers_are_all_there(store: Store) -> None:
    assert store.broken == []
    (sandbox,) = store.view.sandboxes.values()
    assert (sandbox.state, sandbox.ips) == (SandboxState.READY, ("10.77.0.2",))
    assert sandbox.spec.metadata.name == "pod-0"
    (container,) = store.view.containers_of(sandbox.id).values()
    assert (container.state, container.spec.name) == (ContainerState.RUNNING, "c")
    assert container.pid > 0 and container.conmon_pid > 0


def test_images_and_their_layers_are_understood(store: Store) -> None:
    (image,) = map(StoredImage.from_document, store.documents("image").all().values())
    (layer,) = map(Layer.from_document, store.documents("layer").all().values())
    assert image.image.tags == ("example.org/busybox:1",)
    assert image.image.layers == (layer.chain,)
    assert layer.directory == "1"


def test_what_is_written_again_is_what_an_earlier_version_reads(store: Store) -> None:
    layers = store.documents("layer").all()
    assert {k: Layer.from_document(d).to_document() for k, d in layers.items()} == layers
    images = store.documents("image").all()
    assert {k: StoredImage.from_document(d).to_document() for k, d in images.items()} == images
    assert set(store.documents("lease").all()) == set(store.view.sandboxes)
