"""Which network a pod gets, and dialing into it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from berth.base.errors import InvalidArgument, NotFound, ResourceExhausted, Unavailable
from berth.base.findings import Level
from berth.linux.tasks import Tasks
from cri_shim.network.choice import NetworkConfig, Networks, build, inspect
from cri_shim.network.dial import dial
from tests.cri_shim.network.hosts import FileDocuments, Hosts, ask, echo, port, sh


class Nodes:
    """Networks as the daemon builds them, on the test's host."""

    def __init__(self, hosts: Hosts, tasks: Tasks) -> None:
        self._hosts = hosts
        self._tasks = tasks
        self._open: list[Networks] = []
        self.conf = hosts.directory / "net.d"
        self.conf.mkdir()

    async def start(self, mode: str, *known: str) -> Networks:
        await self.stop()
        directory = self._hosts.directory
        config = NetworkConfig(
            mode=mode,
            conf_dir=self.conf,
            bin_dirs=(Path("/usr/lib/cni"),),
            subnet=("10.77.0.0/24",),
            netns=self._hosts.host,
        )
        leases, attachments = FileDocuments(directory / "leases"), FileDocuments(directory / "cni")
        made = build(config, leases, attachments, self._tasks)
        self._open.append(made)
        await made.recover(known)
        return made

    async def stop(self) -> None:
        while self._open:
            await self._open.pop().close()

    def add_conflist(self) -> None:
        ipam = {
            "type": "host-local",
            "dataDir": str(self._hosts.directory / "host-local"),
            "ranges": [[{"subnet": "10.78.0.0/24"}]],
        }
        content = {
            "cniVersion": "1.0.0",
            "name": "testnet",
            "plugins": [{"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": ipam}],
        }
        (self.conf / "10.conflist").write_text(json.dumps(content))


@pytest.fixture
async def nodes(hosts: Hosts) -> AsyncIterator[Nodes]:
    async with Tasks() as tasks:
        made = Nodes(hosts, tasks)
        try:
            yield made
        finally:
            await made.stop()


async def test_auto_changes_over_and_each_pod_keeps_its_own(hosts: Hosts, nodes: Nodes) -> None:
    network = await nodes.start("auto")
    old, new = hosts.pod(1, port(80, 8080)), hosts.pod(2)
    first = await network.attach(old)
    assert first.ips == ("10.77.0.2",)
    nodes.add_conflist()
    second = await network.attach(new)
    assert second.ips == ("10.78.0.2",)
    with pytest.raises(ResourceExhausted, match="8080, which pod default/pod1"):
        await network.attach(hosts.pod(3, port(80, 8080)))
    with echo(old.netns, 80):
        assert ask(hosts.host, first.ips[0], 80) == b"hello"
    network = await nodes.start("auto", old.sandbox_id, new.sandbox_id)
    await network.detach(old, first.record)
    await network.detach(new, {})
    await nodes.stop()
    assert "bv0" not in sh(hosts.host, "ip -o link")
    assert list((hosts.directory / "leases").iterdir()) == []
    assert list((hosts.directory / "cni").iterdir()) == []


async def test_auto_does_not_pass_over_a_broken_list(hosts: Hosts, nodes: Nodes) -> None:
    network = await nodes.start("auto")
    assert network.ready() is None
    (nodes.conf / "10.conflist").write_text("{")
    assert "is not JSON" in (network.ready() or "")
    assert len(await network.findings()) == 2
    (nodes.conf / "10.conflist").unlink()
    assert network.ready() is None


async def test_a_change_of_mode_leaves_pods_detachable(hosts: Hosts, nodes: Nodes) -> None:
    network = await nodes.start("bridge")
    pod = hosts.pod(1)
    attachment = await network.attach(pod)
    network = await nodes.start("cni", pod.sandbox_id)
    assert "no CNI network" in (network.ready() or "")
    await network.check()
    await network.detach(pod, attachment.record)
    await nodes.stop()
    assert "bv0" not in sh(hosts.host, "ip -o link")


async def test_none_gives_loopback_only(hosts: Hosts, nodes: Nodes) -> None:
    network = await nodes.start("none")
    pod = hosts.pod(1)
    attachment = await network.attach(pod)
    assert attachment.ips == ()
    assert (network.ready(), await network.findings()) == (None, [])
    assert "eth0" not in sh(pod.netns, "ip link")
    with echo(pod.netns, 80):
        assert ask(pod.netns, "127.0.0.1", 80) == b"hello"
    await network.detach(pod, attachment.record)
    with pytest.raises(InvalidArgument, match="host port 8080"):
        await network.attach(hosts.pod(2, port(80, 8080)))


async def test_dialing_by_either_family(hosts: Hosts) -> None:
    pod = hosts.pod(1)
    loop = asyncio.get_running_loop()
    with echo(pod.netns, 80):
        with await dial(pod.netns, 80) as connection:
            await loop.sock_sendall(connection, b"hello")
            assert await loop.sock_recv(connection, 100) == b"hello"
            assert connection.getpeername() == ("127.0.0.1", 80)
        sh(pod.netns, "ip addr del 127.0.0.1/8 dev lo")
        with await dial(pod.netns, 80) as connection:
            assert connection.getpeername()[0] == "::1"


async def test_dialing_what_is_not_there(hosts: Hosts) -> None:
    pod = hosts.pod(1)
    with pytest.raises(Unavailable, match=r"port 81 in the pod .*127\.0\.0\.1: Connection refused"):
        await dial(pod.netns, 81)
    with pytest.raises(InvalidArgument, match="port 0"):
        await dial(pod.netns, 0)
    with pytest.raises(NotFound, match="namespace is gone"):
        await dial(str(hosts.directory / "nowhere"), 80)


async def test_dialing_a_pod_on_the_hosts_network() -> None:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        at = server.sockets[0].getsockname()[1]
        with await dial(None, at) as connection:
            assert connection.getpeername() == ("127.0.0.1", at)


async def test_an_inspection_changes_nothing(hosts: Hosts, nodes: Nodes) -> None:
    sh(
        hosts.host,
        "nft 'add table ip filter; add chain ip filter FORWARD "
        "{ type filter hook forward priority 0; policy drop; }'",
    )
    before = sh(hosts.host, "ip link; nft list ruleset")
    config = NetworkConfig(conf_dir=nodes.conf, netns=hosts.host)
    texts = [found.text for found in await inspect(config)]
    assert [text for text in texts if "forwarding of IPv4 is off" in text]
    assert [text for text in texts if "policy of chain ip filter FORWARD" in text]
    assert len(texts) == 2
    nodes.add_conflist()
    missing = NetworkConfig(conf_dir=nodes.conf, bin_dirs=(nodes.conf,), netns=hosts.host)
    (found,) = await inspect(missing)
    assert found.level is Level.ERROR
    assert "plugin bridge is in none of" in found.text
    assert sh(hosts.host, "ip link; nft list ruleset") == before
