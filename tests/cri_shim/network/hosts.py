"""Hosts, pods and records made for tests: network namespaces of their own, joined by a wire."""

import asyncio
import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from berth.linux import namespaces
from cri_shim.model.sandbox import PortMapping, Protocol
from cri_shim.network.pod import PodNet

WAIT = 10


class FileDocuments:
    """`RecordTable` in a directory, one file each: survives the death of the process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, document: dict[str, Any], durable: bool = False) -> None:
        fresh = self.directory / f".{key}"
        fresh.write_text(json.dumps(document))
        fresh.rename(self.directory / key)

    def delete(self, key: str) -> None:
        (self.directory / key).unlink(missing_ok=True)

    def all(self) -> dict[str, dict[str, Any]]:
        found = (path for path in self.directory.iterdir() if not path.name.startswith("."))
        return {path.name: json.loads(path.read_text()) for path in found}


@dataclass
class Hosts:
    """`host` is the node, `other` another machine on its wire."""

    directory: Path
    made: list[Path] = field(default_factory=list)

    @property
    def host(self) -> str:
        return str(self.directory / "host" / "net")

    @property
    def other(self) -> str:
        return str(self.directory / "other" / "net")

    def namespace(self, name: str) -> str:
        directory = self.directory / name
        directory.mkdir()
        path = namespaces.pin(["net"], directory, inside=namespaces.loopback_up)["net"]
        self.made.append(path)
        return str(path)

    def pod(self, number: int, *ports: PortMapping, **more: Any) -> PodNet:
        """A pod with a fresh namespace; its sandbox id follows from the number."""
        sandbox_id = f"{number:012x}" + "0" * 52
        return PodNet(
            sandbox_id,
            f"pod{number}",
            "default",
            f"uid-{number}",
            self.namespace(f"pod{number}"),
            ports,
            **more,
        )

    def end(self, pod: PodNet) -> None:
        namespaces.unpin(Path(pod.netns))

    def close(self) -> None:
        for path in self.made:
            namespaces.unpin(path)


def port(
    container: int, host: int, protocol: Protocol = Protocol.TCP, host_ip: str = ""
) -> PortMapping:
    return PortMapping(protocol, container, host, host_ip)


def sh(netns: str, command: str) -> str:
    """Run a shell command in a network namespace; the output, or an error with it."""
    done = subprocess.run(
        ["nsenter", f"--net={netns}", "sh", "-ec", command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}{done.stdout}"
    return done.stdout


def wire(hosts: Hosts) -> None:
    """host 192.0.2.1, 2001:db8::1 — other 192.0.2.2, 2001:db8::2, which has no route to pods.

    The ends need different indices, else the kernel takes its time with the carrier; and that
    the links are shown has it do at once what is left to do.
    """
    host, other = hosts.namespace("host"), hosts.namespace("other")
    sh(
        host,
        f"ip link add up0 index 99 mtu 1400 type veth peer name eth0 mtu 1400 netns {other}; "
        "echo 0 > /proc/sys/net/ipv6/conf/up0/accept_dad;"
        "ip addr add 192.0.2.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad",
    )
    sh(
        other,
        "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad;"
        "ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad; "
        "ip link set eth0 up",
    )
    sh(
        host,
        "ip link set up0 up; "
        "ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2; "
        "ip link show up0",
    )
    sh(other, "ip link show eth0")


@dataclass
class Heard:
    """What a server got: the peer's address of each question."""

    peers: list[str] = field(default_factory=list)


@contextlib.contextmanager
def echo(netns: str, at: int, kind: int = socket.SOCK_STREAM) -> Iterator[Heard]:
    """A server on both families in a namespace that answers with what it got."""
    server = namespaces.run_inside(netns, lambda: _listen(at, kind))
    heard = Heard()
    thread = threading.Thread(target=_serve, args=(server, kind, heard), daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(WAIT)


def ask(netns: str, address: str, at: int, kind: int = socket.SOCK_STREAM) -> bytes:
    """What a server answers, asked from a namespace; OSError where it cannot be reached."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    client = namespaces.run_inside(netns, lambda: socket.socket(family, kind))
    with client:
        client.settimeout(WAIT)
        client.connect((address, at))
        client.sendall(b"hello")
        return client.recv(100)


def refused(netns: str, address: str, at: int) -> bool:
    """Whether nobody answers there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    client = namespaces.run_inside(netns, lambda: socket.socket(family, socket.SOCK_STREAM))
    with client:
        client.settimeout(0.3)
        return client.connect_ex((address, at)) != 0


async def until(holds: Callable[[], bool]) -> None:
    """Look until it holds, letting the event loop work in between; fails after a while."""
    end = time.monotonic() + WAIT
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < end, "it did not come true"
        await asyncio.sleep(0.01)


def _listen(at: int, kind: int) -> socket.socket:
    server = socket.socket(socket.AF_INET6, kind)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::", at))
    if kind == socket.SOCK_STREAM:
        server.listen()
    return server


def _serve(server: socket.socket, kind: int, heard: Heard) -> None:
    with contextlib.suppress(OSError):
        while True:
            if kind == socket.SOCK_DGRAM:
                data, peer = server.recvfrom(100)
                if not data:
                    return
                heard.peers.append(peer[0].removeprefix("::ffff:"))
                server.sendto(data, peer)
                continue
            client, peer = server.accept()
            with client:
                heard.peers.append(peer[0].removeprefix("::ffff:"))
                client.sendall(client.recv(100))
