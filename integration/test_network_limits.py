"""A full subnet, a crowd of pods at once, and pods that are refused: nothing is left of them."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.cri_shim.network.hosts import ask, echo, sh
from tests.support import nethost
from tests.support.nethost import Node, pod_config, port

CROWD = 100
WAYS = 8
SMALL_WAYS = 4


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A /29 has room for five pods."""
    settings = {"network.subnet": '["10.76.0.0/29"]'}
    with nethost.node(tmp_path_factory.mktemp("small"), settings) as found:
        yield found


def _refused(node: Node, config: cri.PodSandboxConfig) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        node.run(config)
    return error.value.code(), str(error.value.details())


def test_a_full_subnet(small: Node) -> None:
    pods = [small.run() for _ in range(5)]
    assert {small.ips(pod)[0] for pod in pods} == {f"10.76.0.{n}" for n in range(2, 7)}
    code, why = _refused(small, pod_config("late", port_mappings=[port(80, 9200)]))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "subnet 10.76.0.0/29 is full: 5 addresses used, 0 free" in why
    assert len(small.records()) == 5
    assert small.elements() == []
    small.remove(pods.pop(2))
    late = small.run(pod_config("late", port_mappings=[port(80, 9200)]))
    assert small.ips(late) == ["10.76.0.4"]
    small.remove(late, *pods)


def test_an_address_rests_before_its_next_use(small: Node) -> None:
    """Neighbours and clients that remember the pod of before do not meet another at once."""
    seen = []
    for _ in range(5):
        pod = small.run()
        seen += small.ips(pod)
        small.remove(pod)
    assert len(set(seen)) == 5


def test_a_refused_pod_can_come_again(small: Node) -> None:
    """By the same name, once its configuration is put right."""
    for bad in ({"kubernetes.io/egress-bandwidth": "1"}, {"kubernetes.io/egress-bandwidth": ""}):
        code, _ = _refused(small, pod_config("again", annotations=bad))
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert small.left() == []
    config = pod_config("again")
    config.linux.sysctls["net.ipv4.no_such_thing"] = "1"
    code, why = _refused(small, config)
    assert "net.ipv4.no_such_thing" in why
    assert small.left() == []
    small.remove(small.run(pod_config("again")))


def test_a_crowd(tmp_path: Path) -> None:
    """A hundred pods, eight at a time: each with addresses of its own, reachable, and all go."""
    with nethost.node(tmp_path) as node, ThreadPoolExecutor(WAYS) as ways:
        numbers = itertools.count(20_000)

        def run(_: int) -> str:
            config = pod_config(port_mappings=[port(80, next(numbers))])
            return node.run(config)

        pods = list(ways.map(run, range(CROWD)))
        addresses = [ip for pod in pods for ip in node.ips(pod)]
        assert len(set(addresses)) == 2 * CROWD
        assert len(node.links()) == CROWD
        assert len(node.elements()) == 2 * CROWD
        for pod in (pods[0], pods[-1]):
            with echo(node.netns(pod), 80):
                assert ask(node.netns(pods[1]), node.ips(pod)[0], 80) == b"hello"
        list(ways.map(node.remove, pods))
        assert node.left() == []


def test_pods_that_come_and_go_at_once(tmp_path: Path) -> None:
    """One pod's removal and another's creation, of the same name and port, in every order."""
    with nethost.node(tmp_path) as node, ThreadPoolExecutor(WAYS) as ways:

        def life(number: int) -> set[str]:
            seen = set()
            for attempt in range(5):
                config = pod_config(f"life-{number}", port_mappings=[port(80, 21_000 + number)])
                config.metadata.attempt = attempt
                pod = node.run(config)
                seen |= set(node.ips(pod))
                node.remove(pod)
            return seen

        seen = list(ways.map(life, range(WAYS)))
        assert all(len(addresses) == 10 for addresses in seen)
        assert node.left() == []


def test_a_firewall_reload_while_pods_come_and_go(small: Node) -> None:
    """No pod fails for it, and what is published in the end is what runs in the end."""
    with ThreadPoolExecutor(SMALL_WAYS) as ways:

        def life(number: int) -> None:
            small.remove(small.run(pod_config(port_mappings=[port(80, 22_000 + number)])))

        lives = [ways.submit(life, number) for number in range(30)]
        stays = small.run(pod_config(port_mappings=[port(80, 23_000)]))
        for number, done in enumerate(lives):
            done.result()
            if number % 6 == 0:
                sh(small.hosts.host, "nft flush ruleset")
    published = [["tcp", 23_000]]
    nethost.until(
        lambda: [e[0]["concat"] for e in small.elements()] == published, "published what runs"
    )
    small.remove(stays)
