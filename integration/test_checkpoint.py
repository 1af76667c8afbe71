"""Checkpoints: what they refuse where CRIU does not work, and what an archive of theirs holds.

Whether CRIU works depends on the host. A stand-in for the OCI runtime's `checkpoint` command, with
everything else left to the real one, shows the way of a checkpoint that succeeds on any host.
"""

import io
import json
import os
import subprocess
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
# runc whose checkpoint command writes what CRIU would, or fails where FAIL is.
for word; do
    case "$last" in --image-path) images=$word;; --work-path) work=$word;; esac
    [ "$word" = checkpoint ] && checkpoint=yes
    last=$word
done
[ "$checkpoint" = yes ] || exec runc "$@"
if [ -e FAIL ]; then
    echo '(00.1) Error (criu/tty.c:10): tty: Found a dangling tty' > "$work/dump.log"
    runc "$1" pause "$last"
    echo 'criu failed: type NOTIFY errno 0' >&2
    exit 1
fi
echo images > "$images/core-1.img"
echo done > "$work/dump.log"
"""
CRIU_WORKS = subprocess.run(["criu", "check"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def fail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("standin") / "fail"


@pytest.fixture(scope="module")
def shim(
    tmp_path_factory: pytest.TempPathFactory,
    layout: Path,
    handler_settings: dict[str, str],
    fail: Path,
) -> Iterator[Shim]:
    program = fail.with_name("runc")
    program.write_text(STAND_IN.replace("FAIL", str(fail)))
    program.chmod(0o755)
    more = {"runtime.handlers.standin.binary": str(program)}
    with running(tmp_path_factory.mktemp("shim"), handler_settings | more) as daemon:
        daemon.load(layout, IMAGE)
        yield daemon


class Pod:
    """A pod of one handler with one running container."""

    def __init__(self, shim: Shim, handler: str) -> None:
        self.shim = shim
        self.id = pods.run_pod(shim, handler=handler)
        self.container = pods.run_container(shim, self.id, pods.container_config(IMAGE))

    def checkpoint(self, location: Path | str, timeout: int = 0) -> None:
        request = cri.CheckpointContainerRequest(
            container_id=self.container, location=str(location), timeout=timeout
        )
        self.shim.runtime.CheckpointContainer(request)

    def checkpoint_pod(self, output: Path | str, *containers: str) -> None:
        request = cri.CheckpointPodRequest(
            pod_sandbox_id=self.id, output_path=str(output), container_ids=containers
        )
        self.shim.runtime.CheckpointPod(request)

    def alive(self) -> bool:
        answer = pods.execute(self.shim, self.container, "echo", "alive")
        return bool(answer.stdout == b"alive\n")


@pytest.fixture
def run_pod(shim: Shim) -> Iterator[Callable[[str], Pod]]:
    made: list[Pod] = []

    def make(handler: str) -> Pod:
        made.append(Pod(shim, handler))
        return made[-1]

    yield make
    for one in made:
        pods.remove_pod(shim, one.id)


def refused(call: Callable[[], None]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details() or ""


def work_left(shim: Shim) -> bool:
    return (shim.root / "checkpoints").exists()


def test_with_the_real_runtimes(
    shim: Shim, run_pod: Callable[[str], Pod], handler: str, tmp_path: Path
) -> None:
    """Where the host has no working CRIU, or the runtime was built without: words, and nothing."""
    one = run_pod(handler)
    archive = tmp_path / "c.tar"
    built_in = handler == "runc"
    if CRIU_WORKS and built_in:
        one.checkpoint(archive)
        with tarfile.open(archive) as tar:
            assert "checkpoint" in tar.getnames()
    else:
        code, text = refused(lambda: one.checkpoint(archive))
        assert code is grpc.StatusCode.UNIMPLEMENTED
        words = "CRIU does not work on this host: " if built_in else "built without CRIU"
        assert words in text
        assert list(tmp_path.iterdir()) == []
    assert one.alive()
    assert not work_left(shim)


def test_an_archive(shim: Shim, run_pod: Callable[[str], Pod], tmp_path: Path) -> None:
    one = run_pod("standin")
    script = "mkdir /made && echo text > /made/file && rm /etc/group && ln -s file /made/link"
    assert pods.execute(shim, one.container, "/bin/sh", "-c", script).exit_code == 0
    os.setxattr(shim.root / "containers" / one.container / "rootfs/made/file", "user.note", b"x")
    archive = tmp_path / "checkpoint.tar"
    one.checkpoint(archive, timeout=30)
    assert archive.stat().st_mode & 0o777 == 0o600
    with tarfile.open(archive) as tar:
        assert {m.name for m in tar} >= {
            "checkpoint",
            "checkpoint/core-1.img",
            "config.dump",
            "deleted.files",
            "dump.log",
            "rootfs-diff.tar",
            "spec.dump",
        }
        described = json.loads(read(tar, "config.dump"))
        assert (described["id"], described["rootfsImageName"]) == (one.container, IMAGE)
        assert json.loads(read(tar, "spec.dump"))["process"]["args"] == ["/bin/sleep", "1000"]
        assert json.loads(read(tar, "deleted.files")) == ["etc/group"]
        difference = io.BytesIO(read(tar, "rootfs-diff.tar"))
    with tarfile.open(fileobj=difference) as tar:
        assert read(tar, "made/file") == b"text\n"
        assert tar.getmember("made/link").linkname == "file"
        assert tar.getmember("made/file").pax_headers["SCHILY.xattr.user.note"] == "x"
    assert one.alive()
    assert not work_left(shim)


def read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def test_a_pod(shim: Shim, run_pod: Callable[[str], Pod], tmp_path: Path) -> None:
    one = run_pod("standin")
    second = pods.run_container(shim, one.id, pods.container_config(IMAGE, name="second"))
    pods.create(shim, one.id, pods.container_config(IMAGE, name="created"))
    one.checkpoint_pod(tmp_path / "pod.tar")
    with tarfile.open(tmp_path / "pod.tar") as tar:
        described = json.loads(read(tar, "pod.dump"))
        assert described["containers"] == {"c": one.container, "second": second}
        assert read(tar, "containers/second/checkpoint/core-1.img") == b"images\n"
    one.checkpoint_pod(tmp_path / "one.tar", second)
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert json.loads(read(tar, "pod.dump"))["containers"] == {"second": second}


def test_a_failure_half_way(
    shim: Shim, run_pod: Callable[[str], Pod], tmp_path: Path, fail: Path
) -> None:
    """CRIU's words come out, the frozen container is thawed, an older archive stays."""
    one = run_pod("standin")
    archive = tmp_path / "c.tar"
    archive.write_text("older")
    fail.touch()
    code, text = refused(lambda: one.checkpoint(archive))
    fail.unlink()
    expected = "Found a dangling tty" if CRIU_WORKS else "CRIU does not work on this host"
    assert code is (grpc.StatusCode.UNKNOWN if CRIU_WORKS else grpc.StatusCode.UNIMPLEMENTED)
    assert expected in text
    assert one.alive()
    assert [p.name for p in tmp_path.iterdir()] == ["c.tar"]
    assert archive.read_text() == "older"
    assert not work_left(shim)


def test_what_cannot_be_written_or_does_not_run(
    shim: Shim, run_pod: Callable[[str], Pod], tmp_path: Path
) -> None:
    one = run_pod("standin")
    for location in ("relative.tar", str(tmp_path), str(tmp_path / "no/c.tar"), "/a/../b", "/\0"):
        code, _ = refused(partial(one.checkpoint, location))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
    code, _ = refused(lambda: one.checkpoint(tmp_path / "c.tar", timeout=-1))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    other = run_pod("standin")
    code, text = refused(lambda: one.checkpoint_pod(tmp_path / "p.tar", other.container))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "not of pod" in text
    pods.stop(shim, one.container)
    code, _ = refused(lambda: one.checkpoint(tmp_path / "c.tar"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    code, _ = refused(lambda: one.checkpoint_pod(tmp_path / "p.tar"))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert list(tmp_path.iterdir()) == []


def test_restore_says_what_is_missing(shim: Shim) -> None:
    code, text = refused(lambda: shim.runtime.RestorePod(cri.RestorePodRequest()))
    unimplemented, invalid = grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.INVALID_ARGUMENT
    assert code is (invalid if CRIU_WORKS else unimplemented)
    assert ("checkpoint_path" if CRIU_WORKS else "CRIU does not work on this host") in text
