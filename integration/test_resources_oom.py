"""Who died for want of memory, and who did not."""

import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.support import pods
from tests.support.shim import Shim

LIMIT = 48 << 20
HOG = "dd if=/dev/zero of=/dev/null bs=200M count=1"
"""dd's buffer alone is four times the limit."""


def limited(image: str, script: str) -> cri.ContainerConfig:
    found = pods.container_config(image, ["/bin/sh", "-c", script])
    found.linux.resources.memory_limit_in_bytes = LIMIT
    found.linux.resources.memory_swap_limit_in_bytes = LIMIT
    return found


def test_killed_for_want_of_memory(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, limited(image, f"exec {HOG}"))
    ended = pods.until_exited(shim, container)
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


def test_a_child_whose_end_the_container_reports(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, limited(image, f"{HOG}; exit $?"))
    ended = pods.until_exited(shim, container)
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


def test_a_child_that_the_container_survives(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, limited(image, f"{HOG}; exit 3"))
    ended = pods.until_exited(shim, container)
    assert (ended.exit_code, ended.reason) == (3, "Error")


@pytest.mark.parametrize("restarts", [False, True], ids=["", "restart"])
def test_a_command_in_it_was_killed_and_later_we_kill_it(
    shim: Shim, pod: str, image: str, restarts: bool
) -> None:
    container = pods.run_container(shim, pod, limited(image, "while :; do sleep 1000; done"))
    assert pods.execute(shim, container, "/bin/sh", "-c", f"exec {HOG}").exit_code == 137
    assert pods.status(shim, container).state == cri.CONTAINER_RUNNING
    if restarts:
        shim.restart()
    pods.stop(shim, container)
    ended = pods.status(shim, container)
    assert (ended.exit_code, ended.reason) == (137, "Error")


def test_killed_by_us_without_any(shim: Shim, pod: str, image: str) -> None:
    container = pods.run_container(shim, pod, limited(image, "while :; do sleep 1000; done"))
    pods.stop(shim, container)
    ended = pods.status(shim, container)
    assert (ended.exit_code, ended.reason) == (137, "Error")


def test_killed_for_want_of_memory_while_nobody_watched(shim: Shim, pod: str, image: str) -> None:
    """The daemon is away at the end: the cgroup and the exit file remember."""
    script = f"while ! test -e /go; do sleep 0.05; done; exec {HOG}"
    container = pods.run_container(shim, pod, limited(image, script))
    pods.execute(shim, container, "/bin/sh", "-c", "(sleep 0.3; touch /go) >/dev/null 2>&1 &")
    shim.stop()
    pods.until(lambda: exit_files(shim, container), "ended")
    shim.start()
    ended = pods.until_exited(shim, container)
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


def exit_files(shim: Shim, container: str) -> bool:
    return (shim.state / "containers" / container / "exit").exists()
