"""ExecSync in real containers: bounds, timeouts, what runs on, what is left."""

import concurrent.futures
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.linux.files import read_text
from berth.pb import runtime_v1_pb2 as cri
from berth.pb import runtime_v1_pb2_grpc as cri_grpc
from integration.conftest import HANDLERS
from tests.support import pods
from tests.support.processes import descendants
from tests.support.shim import Shim

CAP = 16 << 20
ROUNDS = 5
_numbers = itertools.count()


@pytest.fixture(scope="module", params=HANDLERS)
def container(shim: Shim, image: str, request: pytest.FixtureRequest) -> Iterator[str]:
    pod = pods.run_pod(shim, handler=request.param)
    yield pods.run_container(shim, pod, pods.container_config(image))
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


@pytest.fixture
def unmistakable() -> Iterator[str]:
    """Seconds that only the sleepers of this test sleep; whoever is left is killed."""
    number = f"5{os.getpid():06}{next(_numbers):03}"
    yield number
    for pid in sleepers(number):
        os.kill(pid, 9)


def sleepers(seconds: str) -> list[int]:
    line = f"sleep\0{seconds}\0"
    entries = Path("/proc").glob("[0-9]*")
    return [int(entry.name) for entry in entries if read_text(entry / "cmdline") == line]


def zombies(parent: int) -> list[str]:
    """Ended children that their parent has not reaped."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        stat = read_text(entry / "stat") or ") R 0"
        if stat[stat.rindex(")") + 2 :].split()[:2] == ["Z", str(parent)]:
            found.append(stat)
    return found


def test_bytes_of_every_value(shim: Shim, container: str) -> None:
    script = 'i=0; while [ $i -lt 256 ]; do printf "\\\\$(printf %03o $i)"; i=$((i+1)); done'
    answer = pods.execute(shim, container, "sh", "-c", f"{script}; printf '\\377' >&2; exit 9")
    assert answer.stdout == bytes(range(256))
    assert (answer.stderr, answer.exit_code) == (b"\xff", 9)


def test_both_outputs_are_cut_at_16_mb(shim: Shim, container: str) -> None:
    options = [("grpc.max_receive_message_length", 40 << 20)]
    with grpc.insecure_channel(f"unix:{shim.socket}", options) as channel:
        script = f"yes out | head -c {CAP + 5}; yes err | head -c {CAP + (1 << 20)} >&2; exit 3"
        answer = cri_grpc.RuntimeServiceStub(channel).ExecSync(
            cri.ExecSyncRequest(container_id=container, cmd=["sh", "-c", script], timeout=60)
        )
    assert answer.exit_code == 3
    assert answer.stdout == b"out\n" * (CAP // 4)
    assert answer.stderr == b"err\n" * (CAP // 4)


def test_a_timeout_ends_all_that_was_started(shim: Shim, container: str, unmistakable: str) -> None:
    sleep = f"sleep {unmistakable}"
    script = f"trap '' TERM; {sleep} & setsid {sleep} & sh -c '{sleep}; :' & {sleep}"
    with pytest.raises(grpc.RpcError) as error:
        pods.execute(shim, container, "sh", "-c", script, timeout=1)
    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "longer than 1 s and was killed" in (error.value.details() or "")
    pods.until(lambda: not sleepers(unmistakable), "all are gone")
    assert pods.status(shim, container).state == cri.CONTAINER_RUNNING


def test_a_caller_that_gives_up_ends_it_too(shim: Shim, container: str, unmistakable: str) -> None:
    request = cri.ExecSyncRequest(container_id=container, cmd=["sleep", unmistakable])
    call = shim.runtime.ExecSync.future(request)
    pods.until(lambda: bool(sleepers(unmistakable)), "it sleeps")
    call.cancel()
    pods.until(lambda: not sleepers(unmistakable), "it is gone")


def test_a_background_child_does_not_hang_it(shim: Shim, container: str, unmistakable: str) -> None:
    """Neither one that is silent nor one that goes on writing."""
    answer = pods.execute(
        shim, container, "sh", "-c", f"echo up; sleep {unmistakable} & exit 6", timeout=60
    )
    assert (answer.stdout, answer.exit_code) == (b"up\n", 6)
    assert len(sleepers(unmistakable)) == 1
    script = "(while sleep 0.01; do echo more; done) & echo $!; exit 7"
    answer = pods.execute(shim, container, "sh", "-c", script, timeout=60)
    assert answer.exit_code == 7
    child, *rest = answer.stdout.splitlines()
    assert set(rest) <= {b"more"}
    pods.execute(shim, container, "kill", "-9", child.decode())


def test_no_zombie_and_no_descriptor_is_left(
    shim: Shim, image: str, handler: str, unmistakable: str
) -> None:
    """Orphans of a command go to the first process of its PID namespace: here one that reaps."""
    pod_config = pods.pod_config(host_network=False)
    pod = pods.run_pod(shim, pod_config, handler)
    config = pods.container_config(image)
    config.linux.security_context.namespace_options.pid = cri.POD
    container = pods.run_container(shim, pod, config, pod_config)
    pods.execute(shim, container, "true")
    before = descriptors(shim)
    sleep = f"sleep {unmistakable}"
    for _ in range(ROUNDS):
        pods.execute(shim, container, "sh", "-c", "true & (sleep 0.01 &) ; exit 1")
        with pytest.raises(grpc.RpcError):
            pods.execute(shim, container, "/no/such/program")
    with pytest.raises(grpc.RpcError):
        pods.execute(shim, container, "sh", "-c", f"{sleep} & setsid {sleep} & {sleep}", timeout=1)
    pods.until(lambda: "Z" not in states(shim, container), "the container's are reaped")
    assert shim.process is not None
    daemon = shim.process.pid
    pods.until(lambda: not zombies(daemon), "the daemon's are reaped")
    assert descriptors(shim) == before
    assert not [pid for pid in descendants(daemon) if pid in sleepers(unmistakable)]
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


def descriptors(shim: Shim) -> int:
    assert shim.process is not None
    return len(os.listdir(f"/proc/{shim.process.pid}/fd"))


def states(shim: Shim, container: str) -> set[str]:
    """The states of the processes that the container sees."""
    ps = pods.execute(shim, container, "ps", "-o", "stat").stdout.decode()
    return {line[0] for line in ps.splitlines()}


def test_eight_at_a_time(shim: Shim, container: str) -> None:
    def one(number: int) -> tuple[int, bytes]:
        answer = pods.execute(shim, container, "sh", "-c", f"echo {number}; exit {number}")
        return answer.exit_code, answer.stdout

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(one, range(40)))
    assert answers == [(number, f"{number}\n".encode()) for number in range(40)]


def test_what_cannot_run(shim: Shim, container: str) -> None:
    for command, code, words in (
        (["/no/such/program"], grpc.StatusCode.UNKNOWN, "/no/such/program"),
        ([], grpc.StatusCode.INVALID_ARGUMENT, "cmd is empty"),
    ):
        with pytest.raises(grpc.RpcError) as error:
            pods.execute(shim, container, *command)
        assert error.value.code() is code
        assert words in (error.value.details() or "")


def test_the_container_ends_under_it(shim: Shim, image: str, handler: str) -> None:
    pod = pods.run_pod(shim, handler=handler)
    container = pods.run_container(shim, pod, pods.container_config(image))
    request = cri.ExecSyncRequest(container_id=container, cmd=["sh", "-c", "touch /up; sleep 999"])
    call = shim.runtime.ExecSync.future(request)
    pods.until(lambda: pods.execute(shim, container, "test", "-e", "/up").exit_code == 0, "up")
    pods.stop(shim, container)
    assert call.result(timeout=20).exit_code == 137
    shim.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod))
