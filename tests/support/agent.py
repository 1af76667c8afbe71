"""A nodeagent daemon on private directories, beside a shim."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from berth.pb import node_v1_pb2 as pb
from berth.pb.node_v1_pb2_grpc import NodeAllocatorStub

BIN = Path(sys.executable).parent
START_SECONDS = 30.0


@dataclass
class NodeAgent:
    """One daemon. `directory` holds its socket, state, plan file and log."""

    directory: Path
    plan: str
    capacity: str
    """TOML of the capacity table, such as `{cpu = 4, memory = 0}`."""
    cri_socket: str
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def socket(self) -> str:
        return f"{self.directory}/node.sock"

    @property
    def log(self) -> Path:
        return self.directory / "agent.log"

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "plan.yaml").write_text(self.plan)
        (self.directory / "agent.toml").write_text(
            f'socket = "{self.socket}"\nstate = "{self.directory}/lib"\n'
            f'plan = "{self.directory}/plan.yaml"\ncri_socket = "{self.cri_socket}"\n'
            f"capacity = {self.capacity}\n"
        )
        address = self.directory / "notify.sock"
        address.unlink(missing_ok=True)
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
            self.log.open("ab") as log,
        ):
            notified.bind(str(address))
            notified.settimeout(START_SECONDS)
            self.process = subprocess.Popen(
                [str(BIN / "nodeagent"), "serve", "--config", str(self.directory / "agent.toml")],
                env={**os.environ, "NOTIFY_SOCKET": str(address)},
                stdout=log,
                stderr=log,
            )
            try:
                notified.recv(100)
            except TimeoutError:
                raise AssertionError(f"nodeagent did not start:\n{self.log.read_text()}") from None

    def stop(self, sig: int = signal.SIGTERM) -> None:
        """End the daemon; what was granted stays granted."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(sig)
            self.process.wait(timeout=20)

    def consumers(self) -> dict[str, pb.Consumer]:
        """The status of each consumer of the first group."""
        with self._channel() as channel:
            status = NodeAllocatorStub(channel).Status(pb.StatusRequest(), timeout=10)
        return {consumer.name: consumer for consumer in status.groups[0].consumers}

    def explain(self, name: str) -> str:
        """Why a pod holds, waits or was reclaimed."""
        with self._channel() as channel:
            stub = NodeAllocatorStub(channel)
            return "\n".join(stub.Explain(pb.ExplainRequest(name=name), timeout=10).lines)

    def _channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"unix:{self.socket}")


@contextlib.contextmanager
def agent_running(
    directory: Path, plan: str, capacity: str, cri_socket: str
) -> Iterator[NodeAgent]:
    """A daemon for a test."""
    agent = NodeAgent(directory, plan, capacity, cri_socket)
    agent.start()
    try:
        yield agent
    finally:
        agent.stop()
