"""A registry behind TLS: the system's authorities refuse an unknown one, `certs_dir` knows it."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import busybox
from tests.support.registry import Registry, running, self_signed
from tests.support.shim import Shim
from tests.support.shim import running as shim_running


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path)


@pytest.fixture
def registry(tmp_path: Path, certificate: Path) -> Iterator[Registry]:
    """One that speaks TLS, over the data that a plain one was given."""
    directory = tmp_path / "registry"
    with running(directory) as plain:
        plain.push("app", busybox.image())
    with running(directory, certificate=certificate) as secure:
        yield secure


@pytest.fixture
def shim(tmp_path: Path) -> Iterator[Shim]:
    settings = {"images.certs_dir": str(tmp_path / "certs")}
    with shim_running(tmp_path / "shim", settings) as daemon:
        yield daemon


def pull(shim: Shim, registry: Registry) -> str:
    image = cri.ImageSpec(image=f"{registry.host}/app:latest")
    return str(shim.images.PullImage(cri.PullImageRequest(image=image)).image_ref)


def test_pull(shim: Shim, registry: Registry, certificate: Path, tmp_path: Path) -> None:
    with pytest.raises(grpc.RpcError) as error:
        pull(shim, registry)
    assert "certificate" in (error.value.details() or "").lower()
    directory = tmp_path / "certs" / registry.host
    directory.mkdir(parents=True)
    (directory / "ca.crt").write_text("not a certificate")
    with pytest.raises(grpc.RpcError) as error:
        pull(shim, registry)
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"{directory}/ca.crt" in (error.value.details() or "")
    (directory / "ca.crt").write_text(certificate.read_text())
    assert pull(shim, registry) == busybox.image().id
