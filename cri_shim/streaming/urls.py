"""URLs for the three streaming calls of CRI.

kubelet calls Exec, gets a URL and proxies the API server's client to it; it follows the URL without
credentials. So the URL itself is the right to run the command (`tokens`).
"""

from collections.abc import Sequence

from berth.base.errors import InvalidArgument
from cri_shim.streaming.requests import AttachRequest, ExecRequest, PortForwardRequest
from cri_shim.streaming.server import StreamingServer
from cri_shim.wire.remote_command import Wanted


class Urls:
    """Checks which streams are asked for; the object itself is checked by the verbs."""

    def __init__(self, server: StreamingServer) -> None:
        self._server = server

    def exec(
        self, container_id: str, command: Sequence[str], tty: bool, stdin: bool, stdout: bool,
        stderr: bool,
    ) -> str:  # fmt: skip
        """InvalidArgument where no stream, or stderr besides a terminal, is asked for."""
        if not command:
            raise InvalidArgument("cmd is empty: give a command")
        # CRI has strings, Linux has bytes: `api` decoded what is no UTF-8 to surrogates.
        arguments = tuple(each.encode("utf-8", "surrogateescape") for each in command)
        wanted = _wanted(tty, stdin, stdout, stderr)
        return self._server.url(ExecRequest(container_id, arguments, wanted))

    def attach(self, container_id: str, tty: bool, stdin: bool, stdout: bool, stderr: bool) -> str:
        return self._server.url(AttachRequest(container_id, _wanted(tty, stdin, stdout, stderr)))

    def port_forward(self, sandbox_id: str, ports: Sequence[int]) -> str:
        for port in ports:
            if not 1 <= port <= 65535:
                raise InvalidArgument(f"port {port} is not in 1 to 65535")
        return self._server.url(PortForwardRequest(sandbox_id, tuple(ports)))


def _wanted(tty: bool, stdin: bool, stdout: bool, stderr: bool) -> Wanted:
    if tty and stderr:
        raise InvalidArgument("tty and stderr exclude each other: a terminal has one output")
    if not (stdin or stdout or stderr):
        raise InvalidArgument("none of stdin, stdout and stderr is asked for")
    return Wanted(tty, stdin, stdout, stderr)
