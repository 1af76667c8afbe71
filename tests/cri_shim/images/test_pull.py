"""Pulls from Debian's docker-registry: what works, judged by what arrives."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.base.errors import InvalidArgument, NotFound
from cri_shim.images.errors import AccessDenied, BadImage, RegistryUnavailable
from cri_shim.images.progress import LayerState, Progress
from cri_shim.images.registry.auth import Auth
from tests.cri_shim.images import on_disk
from tests.support import image as make
from tests.support import registry
from tests.support.image import directory, member


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry.Registry]:
    with registry.running(tmp_path_factory.mktemp("registry")) as running:
        yield running


def three_layers(seed: bytes = b"") -> make.BuiltImage:
    layers = [
        make.Layer.of(directory("etc"), member("etc/one", seed + b"1" * 5000), packing="gzip"),
        make.Layer.of(member("etc/two", b"2" * 5000), packing="zstd"),
        make.Layer.of(member("etc/.wh.one"), packing=""),
    ]
    return make.BuiltImage(layers, config={"Cmd": ["sh"]})


async def test_pull_by_tag_by_digest_and_again(server: registry.Registry, tmp_path: Path) -> None:
    built = three_layers()
    reference = server.push("team/app", built, "1")
    async with on_disk.opened(tmp_path / "root") as images:
        image = await images.pull(reference)
        assert image.id == built.id
        assert image.tags == (reference,)
        assert image.digests == (f"{server.host}/team/app@{built.digest}",)
        rootfs = await images.prepare(image.id, "c")
        assert [path.name for path in (rootfs / "etc").iterdir()] == ["two"]
        await images.release("c")
        whole = on_disk.remains(tmp_path / "root")
        assert await images.pull(reference) == image
        assert await images.pull(image.digests[0]) == image
        assert on_disk.remains(tmp_path / "root") == whole
        await images.remove(image.digests[0])
        assert images.get(reference) is None
    assert on_disk.remains(tmp_path / "root") == set()


async def test_one_image_under_several_names_and_from_an_index(
    server: registry.Registry, tmp_path: Path
) -> None:
    built = three_layers()
    arm = make.BuiltImage(built.layers, architecture="arm64", variant="v8")
    one, two = server.push("a/a", built, "1"), server.push("b/b", built, "1")
    many, index = server.push_index("c/c", [arm, built], "1")
    async with on_disk.opened(tmp_path / "root") as images:
        for reference in (one, two, many):
            assert (await images.pull(reference)).id == built.id
        [image] = images.list()
        assert image.tags == (one, two, many)
        assert image.digests[2] == f"{server.host}/c/c@{make.digest(json.dumps(index).encode())}"
        assert images.get(image.digests[2]) is image


async def test_docker_manifests(server: registry.Registry, tmp_path: Path) -> None:
    layer = make.Layer(make.tar([member("a", b"a")]), media_type=make.DOCKER_LAYER)
    built = make.BuiltImage([layer], docker=True)
    reference = server.push("docker/app", built)
    async with on_disk.opened(tmp_path / "root") as images:
        image = await images.pull(reference)
        await images.save(reference, tmp_path / "saved.tar")
        assert image.manifest == built.digest


async def test_an_image_for_other_platforms_only(server: registry.Registry, tmp_path: Path) -> None:
    arm = make.BuiltImage(three_layers().layers, architecture="arm64")
    many, _ = server.push_index("arm/index", [arm])
    one = server.push("arm/one", arm)
    async with on_disk.opened(tmp_path / "root") as images:
        with pytest.raises(BadImage, match="nothing for linux/amd64, only for linux/arm64"):
            await images.pull(many)
        with pytest.raises(BadImage, match="is for linux/arm64 and this node is linux/amd64"):
            await images.pull(one)
    assert on_disk.remains(tmp_path / "root") == set()


async def test_what_does_not_exist(server: registry.Registry, tmp_path: Path) -> None:
    server.push("team/app", three_layers(), "1")
    port = registry.free_port()
    async with on_disk.opened(tmp_path / "root") as images:
        for reference in ("team/app:2", "nobody/app:1", f"team/app@sha256:{'0' * 64}"):
            with pytest.raises(NotFound, match=reference):
                await images.pull(f"{server.host}/{reference}")
        with pytest.raises(RegistryUnavailable) as caught:
            await images.pull(f"127.0.0.1:{port}/app:1")
        assert str(caught.value).startswith("RegistryUnavailable: ")
        assert "Connection refused" in str(caught.value)
        with pytest.raises(InvalidArgument, match="lower case"):
            await images.pull(f"{server.host}/App")
    assert on_disk.remains(tmp_path / "root") == set()


async def test_a_registry_with_passwords(tmp_path: Path) -> None:
    directory_ = tmp_path / "registry"
    directory_.mkdir()
    htpasswd = directory_ / "htpasswd"
    htpasswd.write_text(await _bcrypt("me", "secret"))
    with registry.running(directory_, htpasswd) as locked:
        good = Auth("me", "secret")
        locked = registry.Registry(
            int(locked.host.rpartition(":")[2]), {"Authorization": good.basic()}
        )
        reference = locked.push("team/app", three_layers(), "1")
        async with on_disk.opened(tmp_path / "root") as images:
            with pytest.raises(AccessDenied, match="no credentials"):
                await images.pull(reference)
            with pytest.raises(AccessDenied, match="user name 'me' and a password") as caught:
                await images.pull(reference, Auth("me", "wrong"))
            assert "wrong" not in str(caught.value)
            with pytest.raises(AccessDenied, match="no credentials"):
                await images.pull(reference, Auth("me", "secret", server="other.example"))
            assert (await images.pull(reference, good)).tags == (reference,)


async def _bcrypt(user: str, password: str) -> str:
    """A line of an htpasswd file, by the crypt(3) of the system."""
    argv = ["perl", "-e", 'print crypt($ARGV[0], q($2y$04$) . "a" x 22)', password]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return f"{user}:{out.decode()}\n"


async def test_equal_pulls_at_one_time_are_one(server: registry.Registry, tmp_path: Path) -> None:
    reference = server.push("join/app", three_layers(b"join"), "1")
    seen: list[Progress] = []
    async with on_disk.opened(tmp_path / "root") as images:
        pulls = [images.pull(reference, None, seen.append) for _ in range(5)]
        found = await asyncio.gather(*pulls)
        assert {image.id for image in found} == {three_layers(b"join").id}
        assert len(list((tmp_path / "root/layers").iterdir())) == 3
        assert {layer.state for layer in seen[-1].layers} == {LayerState.DONE}


async def test_different_images_that_share_layers_at_one_time(
    server: registry.Registry, tmp_path: Path
) -> None:
    base = three_layers(b"shared").layers
    built = [make.BuiltImage([*base, make.Layer.of(member(f"own{n}", b"x"))]) for n in range(4)]
    references = [server.push(f"share/app{n}", image) for n, image in enumerate(built)]
    async with on_disk.opened(tmp_path / "root") as images:
        found = await asyncio.gather(*(images.pull(reference) for reference in references))
        assert [image.id for image in found] == [image.id for image in built]
        assert len(list((tmp_path / "root/layers").iterdir())) == 3 + 4
        for reference in references[1:]:
            await images.remove(reference)
        assert len(list((tmp_path / "root/layers").iterdir())) == 3 + 1


async def test_mirrors_are_asked_first(server: registry.Registry, tmp_path: Path) -> None:
    built = three_layers()
    server.push("proxy/quay/team/app", built, "1")
    server.push("library/busybox", built, "1")
    dead = f"127.0.0.1:{registry.free_port()}"
    mirrors = {
        "quay.invalid": [f"http://{dead}", f"{server.host}/proxy/quay"],
        "docker.io": [server.host],
    }
    async with on_disk.opened(tmp_path / "root", mirrors=mirrors) as images:
        image = await images.pull("quay.invalid/team/app:1")
        assert image.digests == (f"quay.invalid/team/app@{built.digest}",)
        image = await images.pull("busybox:1")
        assert image.tags == ("quay.invalid/team/app:1", "docker.io/library/busybox:1")
        with pytest.raises(RegistryUnavailable) as caught:
            await images.pull("quay.invalid/team/other:1")
        for part in (f"{dead}: Connection refused", "404", "quay.invalid: its name does not"):
            assert part in str(caught.value)
