"""Exec, attach and port-forward as the clients of a node use them: URLs through the socket, then
SPDY as the kubelet speaks it, or WebSocket by clients that others wrote."""

from pathlib import Path

from berth.pb import runtime_v1_pb2 as cri
from tests.support import websocket_clients
from tests.support.shim import Shim
from tests.support.spdy_client import Exec, SpdyClient

EXEC = "v4.channel.k8s.io"
FORWARD = "portforward.k8s.io"
MOST = 20 << 20
"""Bytes that the daemon may grow by while any amount of data streams through it."""


def exec_url(
    shim: Shim,
    container: str,
    *command: str,
    tty: bool = False,
    stdin: bool = False,
    stderr: bool = True,
) -> str:
    request = cri.ExecRequest(
        container_id=container,
        cmd=command,
        tty=tty,
        stdin=stdin,
        stdout=True,
        stderr=stderr and not tty,
    )
    return str(shim.runtime.Exec(request).url)


def attach_url(shim: Shim, container: str, tty: bool = False, stdin: bool = False) -> str:
    request = cri.AttachRequest(
        container_id=container, tty=tty, stdin=stdin, stdout=True, stderr=not tty
    )
    return str(shim.runtime.Attach(request).url)


def forward_url(shim: Shim, pod: str, *ports: int) -> str:
    request = cri.PortForwardRequest(pod_sandbox_id=pod, port=ports)
    return str(shim.runtime.PortForward(request).url)


async def spdy(url: str, tty: bool = False, stdin: bool = False) -> Exec:
    """The streams that kubectl opens for an exec or an attach."""
    kinds = ["error", *(["stdin"] if stdin else []), "stdout", "resize" if tty else "stderr"]
    return await Exec.start(url, " ".join(kinds))


async def execute(shim: Shim, container: str, *command: str, **options: bool) -> Exec:
    """Start a command over SPDY."""
    url = exec_url(shim, container, *command, **options)
    return await spdy(url, options.get("tty", False), options.get("stdin", False))


async def resize(run: Exec, width: int, height: int) -> None:
    size = b'{"Width":%d,"Height":%d}\n' % (width, height)
    await run.client.send(run.streams["resize"], size)


async def says(run: Exec, words: bytes, kind: str = "stdout") -> None:
    """Wait until some output holds these words."""
    await run.client.until(lambda: words in run.output(kind) or run.client.ended)
    assert words in run.output(kind), run.output(kind)[-1000:]


async def close_clients() -> None:
    """For a fixture: all SPDY and WebSocket clients of the test."""
    websocket_clients.close_all()
    while SpdyClient.opened:
        await SpdyClient.opened.pop().close()


class Forward:
    """A port-forward session: any number of connections, each a pair of streams."""

    def __init__(self, client: SpdyClient) -> None:
        self.client = client
        self._number = 0

    @classmethod
    async def start(cls, url: str) -> "Forward":
        return cls(await SpdyClient.connect(url, FORWARD))

    async def open(self, port: int) -> tuple[int, int]:
        """The error and the data stream of a new connection."""
        fields = {"port": str(port), "requestid": str(self._number)}
        self._number += 1
        return await self.client.open("error", **fields), await self.client.open("data", **fields)

    async def ask(self, port: int, request: bytes, fin: bool = True) -> tuple[bytes, bytes]:
        """All data that a connection returns for a request, and the text of its error stream."""
        error, data = await self.open(port)
        await self.client.send(data, request, fin)
        await self.client.until_finished(error, data)
        return bytes(self.client.data.get(data, b"")), bytes(self.client.data.get(error, b""))


class Peak:
    """The growth of a daemon's resident memory, in bytes, at its highest from now on."""

    def __init__(self, shim: Shim) -> None:
        assert shim.process is not None
        self._proc = Path(f"/proc/{shim.process.pid}")
        (self._proc / "clear_refs").write_text("5")
        self._before = self._kib("VmRSS")

    def growth(self) -> int:
        return (self._kib("VmHWM") - self._before) * 1024

    def _kib(self, name: str) -> int:
        lines = (self._proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name))
