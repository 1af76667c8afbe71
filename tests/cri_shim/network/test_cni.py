"""CNI with the real plugins: bridge, host-local, portmap and bandwidth."""

import json

import pytest

from berth.base.errors import ResourceExhausted, RuntimeFailure
from tests.cri_shim.network.cni_directory import CniHost
from tests.cri_shim.network.hosts import Hosts, ask, echo, port, sh


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0"])
async def test_add_and_del_by_spec_version(hosts: Hosts, cni: CniHost, version: str) -> None:
    cni.real(version=version)
    network = await cni.start()
    await network.check()
    assert network.ready() is None
    pod = hosts.pod(1, port(80, 8080))
    attachment = await network.attach(pod)
    assert attachment.ips == ("10.78.0.2", "fd78::2")
    with echo(pod.netns, 80):
        assert ask(hosts.host, "10.78.0.2", 80) == b"hello"
        assert ask(hosts.other, "192.0.2.1", 8080) == b"hello"
    await network.detach(pod, attachment.record)
    assert cni.addresses() == []
    assert cni.records.all() == {}
    assert "8080" not in sh(hosts.host, "iptables -t nat -S")
    await network.detach(pod, attachment.record)


async def test_check_notices_what_somebody_undid(hosts: Hosts, cni: CniHost) -> None:
    cni.real()
    network = await cni.start()
    # The plugin bandwidth panics in CHECK when it was given no rate.
    pod = hosts.pod(1, annotations={"kubernetes.io/egress-bandwidth": "10M"})
    await network.attach(pod)
    await network.verify(pod.sandbox_id)
    sh(pod.netns, "ip addr flush dev eth0")
    with pytest.raises(RuntimeFailure, match=r"plugin bridge \(CHECK .*failed: "):
        await network.verify(pod.sandbox_id)
    await network.detach(pod, {})


async def test_the_record_survives_a_restart_and_config_changes(hosts: Hosts, cni: CniHost) -> None:
    cni.real()
    network = await cni.start()
    pod = hosts.pod(1, port(80, 8080))
    attachment = await network.attach(pod)
    assert json.loads(json.dumps(attachment.record)) == attachment.record
    (cni.conf / "10-real.conflist").unlink()
    network = await cni.start(pod.sandbox_id)
    with pytest.raises(ResourceExhausted, match="TCP 8080, which pod default/pod1"):
        cni.real()
        await network.attach(hosts.pod(2, port(80, 8080)))
    (cni.conf / "10-real.conflist").unlink()
    await network.detach(pod, attachment.record)
    assert cni.addresses() == []


async def test_the_plugins_own_words_are_in_the_error(hosts: Hosts, cni: CniHost) -> None:
    cni.real()
    network = await cni.start()
    pod = hosts.pod(1)
    sh(hosts.host, "ip link add cni0 type veth peer name cni1")
    with pytest.raises(RuntimeFailure, match=r"pod default/pod1.*bridge.*cni0.*already exists"):
        await network.attach(pod)
    assert cni.addresses() == []
    assert cni.records.all() == {}
