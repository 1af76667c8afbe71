"""RestorePod over the real runc, with stand-ins for CRIU itself, which few hosts have working.

The stand-in's `restore` makes and starts the bundle: what is shown is all around CRIU's own work.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim, running

IMAGE = "example.org/busybox:1"
STAND_IN = """#!/bin/sh
# runc with a checkpoint command that writes an image, and a restore command that wants it.
for word; do
    case "$last" in
    --image-path) images=$word;; --work-path) work=$word;;
    --bundle) bundle=$word;; --pid-file) pidfile=$word;;
    esac
    case "$word" in checkpoint | restore) command=$word;; esac
    last=$word
done
case "$command" in
checkpoint) echo "$last" > "$images/core-1.img"; exit;;
restore) ;;
*) exec runc "$@";;
esac
echo "$@" > WORDS
if [ -e FAIL ] || ! [ -s "$images/core-1.img" ]; then
    echo '(00.1) Error (criu/cr-restore.c:10): no such image' > "$work/restore.log"
    echo 'criu failed: type NOTIFY errno 0' >&2
    exit 1
fi
runc "$1" create --bundle "$bundle" --pid-file "$pidfile" "$last" && runc "$1" start "$last"
"""
ENTER = ("unshare", "-m", "sh", "-c", 'mount --bind "$0" /usr/local/sbin && exec "$@"')
"""A mount namespace in which `criu` is a stand-in that says that all is well."""
SCRIPT = (
    "mkdir -m 751 /made && echo text > /made/file && chmod 666 /made/file"
    " && rm /etc/group && ln -s file /made/link"
)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("programs")
    script = STAND_IN.replace("FAIL", f"{directory}/fail").replace("WORDS", f"{directory}/words")
    for name, text in (("runc", script), ("criu", "#!/bin/sh\nexit 0\n")):
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    return directory


@pytest.fixture(scope="module")
def shim(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Path,
    handler_settings: dict[str, str],
    programs: Path,
) -> Iterator[Shim]:
    criu = programs / "host"
    criu.mkdir()
    (programs / "criu").rename(criu / "criu")
    more = {"runtime.handlers.standin.binary": str(programs / "runc")}
    directory = tmp_path_factory.mktemp("shim")
    with running(directory, handler_settings | more, (*ENTER, str(criu))) as daemon:
        daemon.load(layout, IMAGE)
        yield daemon


def config(name: str) -> cri.ContainerConfig:
    made = pods.container_config(IMAGE, name=name)
    pods.share_network(made, pods.pod_config())
    return made


def restore(
    shim: Shim, path: Path, pod: cri.PodSandboxConfig, *names: str, handler: str = "standin"
) -> cri.RestorePodResponse:
    request = cri.RestorePodRequest(
        checkpoint_path=str(path),
        config=pod,
        runtime_handler=handler,
        container_configs=[config(name) for name in names],
    )
    return shim.runtime.RestorePod(request)


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details() or ""


def remove(shim: Shim, id_: str) -> None:
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=id_))


@pytest.fixture(scope="module")
def archive(shim: Shim, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a pod with containers `a`, which changed its root, and `b`. The pod is gone."""
    path = tmp_path_factory.mktemp("archive") / "pod.tar"
    pod = pods.run_pod(shim, handler="standin")
    first = pods.run_container(shim, pod, config("a"))
    pods.run_container(shim, pod, config("b"))
    assert pods.execute(shim, first, "/bin/sh", "-c", SCRIPT).exit_code == 0
    request = cri.CheckpointPodRequest(pod_sandbox_id=pod, output_path=str(path))
    shim.runtime.CheckpointPod(request)
    remove(shim, pod)
    return path


@pytest.fixture
def nothing_left(shim: Shim, archive: Path) -> Iterator[None]:
    yield
    assert list(shim.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items) == []
    assert not (shim.root / "checkpoints").exists()
    assert shim.leftovers() == []


@pytest.mark.usefixtures("nothing_left")
def test_a_restored_pod(shim: Shim, archive: Path, programs: Path) -> None:
    pod = pods.pod_config("again")
    made = restore(shim, archive, pod, "b", "a")
    ids = {c.name: c.container_id for c in made.restored_containers}
    assert ids.keys() == {"a", "b"}
    for id_ in ids.values():
        status = pods.status(shim, id_)
        assert status.state == cri.CONTAINER_RUNNING and status.started_at > 0
    look = "stat -c '%a %F' /made /made/file; cat /made/link; test ! -e /etc/group"
    seen = pods.execute(shim, ids["a"], "/bin/busybox", "sh", "-c", look)
    assert (seen.exit_code, seen.stdout) == (0, b"751 directory\n666 regular file\ntext\n")
    assert pods.execute(shim, ids["b"], "/bin/cat", "/etc/group").exit_code == 0
    words = (programs / "words").read_text().split()
    assert {"--file-locks", "--tcp-established"} <= set(words)
    code, text = refused(lambda: restore(shim, archive, pod, "a", "b"))
    assert code is grpc.StatusCode.ALREADY_EXISTS and "again" in text
    assert pods.status(shim, ids["a"]).state == cri.CONTAINER_RUNNING
    pods.stop(shim, ids["a"])
    pods.until_exited(shim, ids["a"])
    remove(shim, made.pod_sandbox_id)


@pytest.mark.usefixtures("nothing_left")
def test_a_restore_that_fails_names_its_stage(shim: Shim, archive: Path, programs: Path) -> None:
    (programs / "fail").touch()
    code, text = refused(lambda: restore(shim, archive, pods.pod_config("x"), "a", "b"))
    (programs / "fail").unlink()
    assert code is grpc.StatusCode.UNKNOWN
    assert "container a: " in text and "criu failed" in text and "no such image" in text


@pytest.mark.usefixtures("nothing_left")
def test_the_second_of_two_fails(shim: Shim, archive: Path, tmp_path: Path) -> None:
    """The first runs by then, and goes with the pod."""
    bad = rewritten(archive, tmp_path, {"containers/b/checkpoint/core-1.img": b""})
    code, text = refused(lambda: restore(shim, bad, pods.pod_config("x"), "a", "b"))
    assert code is grpc.StatusCode.UNKNOWN and "container b: " in text


def rewritten(
    archive: Path, directory: Path, changes: dict[str, bytes | None], *more: tarfile.TarInfo
) -> Path:
    """The archive with other bytes in some members, without some, and with more."""
    target = directory / "changed.tar"
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old:
            data = old.extractfile(member)
            content = changes.get(member.name, data.read() if data else b"")
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
        for member in more:
            new.addfile(member, io.BytesIO(bytes(member.size)))
    return target


BAD: list[tuple[dict[str, bytes | None], str]] = [
    ({"pod.dump": None}, "it has no pod.dump"),
    ({"pod.dump": b"{"}, "pod.dump is not JSON"),
    ({"pod.dump": b"[]"}, "pod.dump names no containers"),
    ({"pod.dump": json.dumps({"containers": {"../a": ""}}).encode()}, "not the name of a contain"),
    ({"containers/a/spec.dump": None}, "containers/a has no spec.dump"),
    ({"containers/a/rootfs-diff.tar": None}, "containers/a has no rootfs-diff.tar"),
    ({"containers/a/config.dump": b"{}"}, "config.dump has no rootfsImage"),
    ({"containers/a/config.dump": b'{"rootfsImage": "sha256:0"}'}, "made from image sha256:0"),
    ({"containers/a/deleted.files": b'["../../x"]'}, "'../../x' is not a path inside"),
    ({"containers/a/deleted.files": b"{}"}, "is not a list of paths"),
]


@pytest.mark.usefixtures("nothing_left")
def test_bad_archives(shim: Shim, archive: Path, tmp_path: Path) -> None:
    for changes, expected in BAD:
        bad = rewritten(archive, tmp_path, changes)
        code, text = refused(partial(restore, shim, bad, pods.pod_config("x"), "a", "b"))
        assert code is grpc.StatusCode.INVALID_ARGUMENT and expected in text, text


def link(name: str, kind: bytes, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../outside"),
        tarfile.TarInfo("/outside"),
        tarfile.TarInfo("pod.dump"),
        link("containers/a/more", tarfile.SYMTYPE, "/etc/passwd"),
        link("containers/a/more", tarfile.LNKTYPE, "pod.dump"),
        link("containers/a/more", tarfile.FIFOTYPE, ""),
    ],
    ids=lambda member: f"{member.name} {member.type!r}",
)
@pytest.mark.usefixtures("nothing_left")
def test_hostile_members(
    shim: Shim, archive: Path, tmp_path: Path, member: tarfile.TarInfo
) -> None:
    bad = rewritten(archive, tmp_path, {}, member)
    code, text = refused(lambda: restore(shim, bad, pods.pod_config("x"), "a", "b"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and str(bad) in text
    assert not Path("/outside").exists()


@pytest.mark.usefixtures("nothing_left")
def test_a_hostile_difference(shim: Shim, archive: Path, tmp_path: Path) -> None:
    """The root's own links cannot lead out either: they lead to places inside of it."""
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as tar:
        tar.addfile(link("out", tarfile.SYMTYPE, str(tmp_path)))
        tar.addfile(tarfile.TarInfo("out/file"))
        tar.addfile(tarfile.TarInfo("../../file"))
    bad = rewritten(archive, tmp_path, {"containers/a/rootfs-diff.tar": inner.getvalue()})
    code, text = refused(lambda: restore(shim, bad, pods.pod_config("x"), "a", "b"))
    assert code is grpc.StatusCode.UNKNOWN and "container a: " in text and "outside" in text
    assert [p.name for p in tmp_path.iterdir()] == [bad.name]


@pytest.mark.usefixtures("nothing_left")
def test_what_does_not_fit(shim: Shim, archive: Path, tmp_path: Path) -> None:
    pod = pods.pod_config("x")
    text_file, cut = tmp_path / "text", tmp_path / "cut"
    text_file.write_text("not a tar")
    cut.write_bytes(archive.read_bytes()[:1500])
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    for path in (text_file, cut, tmp_path, tmp_path / "none", Path("relative")):
        code, text = refused(partial(restore, shim, path, pod, "a", "b"))
        assert code is invalid and str(path) in text
    for names in ((), ("a",), ("a", "b", "c"), ("a", "a", "b")):
        code, text = refused(partial(restore, shim, archive, pod, *names))
        assert code is invalid and "container_configs" in text
    code, text = refused(lambda: restore(shim, archive, pod, "a", "b", handler="crun"))
    assert code is grpc.StatusCode.UNIMPLEMENTED and "without CRIU" in text
    request = cri.RestorePodRequest(checkpoint_path=str(archive), options={"x": "y"})
    code, text = refused(lambda: shim.runtime.RestorePod(request))
    assert code is invalid and "options" in text
