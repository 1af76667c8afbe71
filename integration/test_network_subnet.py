"""The pods' subnet changes under living pods: by the kubelet's pod CIDR, and by configuration."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from berth.pb import runtime_v1_pb2 as cri
from tests.cri_shim.network.hosts import ask, echo, sh
from tests.support import nethost
from tests.support.nethost import Node, pod_config, port

DEFAULT = '["10.208.0.0/16"]'


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with nethost.node(tmp_path, {"network.subnet": DEFAULT}) as found:
        yield found


def _tell(node: Node, cidr: str) -> None:
    network = cri.NetworkConfig(pod_cidr=cidr)
    request = cri.UpdateRuntimeConfigRequest(
        runtime_config=cri.RuntimeConfig(network_config=network)
    )
    node.shim.runtime.UpdateRuntimeConfig(request)


def _check_both(node: Node, old: str, new: str) -> None:
    """Pods of both subnets reach each other, the world, and are reached by their ports."""
    with echo(node.netns(old), 80), echo(node.netns(new), 80), echo(node.hosts.other, 81) as heard:
        assert ask(node.netns(new), node.ips(old)[0], 80) == b"hello"
        assert ask(node.netns(old), node.ips(new)[0], 80) == b"hello"
        assert ask(node.hosts.other, "192.0.2.1", 9400) == b"hello"
        assert ask(node.hosts.other, "192.0.2.1", 9401) == b"hello"
        for pod in (old, new):
            assert ask(node.netns(pod), "192.0.2.2", 81) == b"hello"
    assert heard.peers == ["192.0.2.1"] * 2


def test_the_kubelets_pod_cidr(node: Node) -> None:
    """It takes the place of the default subnet, for new pods, and is kept over a restart."""
    old = node.run(pod_config(port_mappings=[port(80, 9400)]))
    assert node.ips(old)[0].startswith("10.208.0.")
    _tell(node, "10.244.3.0/24,fd44:3::/64")
    new = node.run(pod_config(port_mappings=[port(80, 9401)]))
    assert node.ips(new) == ["10.244.3.2", "fd44:3::2"]
    _check_both(node, old, new)
    _tell(node, "10.244.3.0/24,fd44:3::/64")
    node.shim.restart()
    third = node.run()
    assert node.ips(third) == ["10.244.3.3", "fd44:3::3"]
    _check_both(node, old, new)
    node.remove(old, new, third)


def test_a_pod_cidr_that_is_none(node: Node) -> None:
    for cidr in ("10.244.3.0/33", "pods", "10.1.0.0/16,10.2.0.0/16", "10.0.0.0/31"):
        with pytest.raises(grpc.RpcError) as error:
            _tell(node, cidr)
        assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "pod CIDR" in str(error.value.details())
    pod = node.run()
    assert node.ips(pod)[0].startswith("10.208.0.")
    node.remove(pod)


def test_a_pod_cidr_inside_the_subnet_of_before(node: Node) -> None:
    """Its gateway's address could be a pod's: refused until that pod is gone, and said which."""
    pod = node.run(pod_config("inside"))
    with pytest.raises(grpc.RpcError) as error:
        _tell(node, "10.208.0.0/24")
    assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "pod test/inside has 10.208.0.2" in str(error.value.details())
    node.remove(pod)
    _tell(node, "10.208.0.0/24")
    pod = node.run()
    assert "10.208.0.2/24" in sh(node.netns(pod), "ip -o addr show eth0")
    node.remove(pod)


def test_a_subnet_of_the_configuration_is_kept(tmp_path: Path) -> None:
    with nethost.node(tmp_path) as node:
        _tell(node, "10.244.3.0/24")
        pod = node.run()
        assert node.ips(pod)[0].startswith("10.77.0.")
        node.remove(pod)


def test_ipv6_alone(tmp_path: Path) -> None:
    with nethost.node(tmp_path, {"network.subnet": '["fd76::/64"]'}) as node:
        pod = node.run(pod_config(port_mappings=[port(80, 9400), port(80, 9401, host_ip="::")]))
        assert node.ips(pod) == ["fd76::2"]
        with echo(node.netns(pod), 80), echo(node.hosts.other, 81) as heard:
            assert ask(node.hosts.other, "2001:db8::1", 9400) == b"hello"
            assert ask(node.hosts.other, "2001:db8::1", 9401) == b"hello"
            assert ask(node.netns(pod), "2001:db8::2", 81) == b"hello"
        assert heard.peers == ["2001:db8::1"]


def test_another_subnet_in_the_configuration(node: Node) -> None:
    """Pods of the subnet of before keep their network until they go."""
    old = node.run(pod_config(port_mappings=[port(80, 9400)]))
    address = node.ips(old)
    node.shim.settings = {**node.shim.settings, "network.subnet": '["10.75.0.0/24"]'}
    node.shim.restart()
    new = node.run(pod_config(port_mappings=[port(80, 9401)]))
    assert node.ips(old) == address
    assert node.ips(new) == ["10.75.0.2"]
    _check_both(node, old, new)
    node.remove(old, new)
