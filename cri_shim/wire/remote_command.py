"""The remote-command sub-protocols of exec and attach: what each can do, and how a command ended.

    channel.k8s.io      1  stdin, stdout, stderr, error
    v2.channel.k8s.io   2  the same, with the error stream kept open to the end
    v3.channel.k8s.io   3  and terminal resizing
    v4.channel.k8s.io   4  and the exit code, as a JSON Status on the error stream
    v5.channel.k8s.io   5  and half-close over WebSocket

SPDY gives each stream its own SPDY stream with a `streamType` header; WebSocket gives each a
channel number (`websocket_channels`), and its names also come with `base64.` before `channel`.
Version 5 is of WebSocket only: a SPDY stream always could end one half by FIN, a WebSocket channel
could not, so that `kubectl exec -i … < file` never came to the end of its input (KEP-4006).

The end of a command goes out on the error stream. Version 4 and later: one JSON `Status` of the
Kubernetes API. Before: nothing for success, else a line of text, from which no client can read an
exit code.
Source: Kubernetes `apimachinery/pkg/util/remotecommand` and `cri-streaming`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class StreamType(Enum):
    STDIN = "stdin"
    STDOUT = "stdout"
    STDERR = "stderr"
    ERROR = "error"
    RESIZE = "resize"


@dataclass(frozen=True, slots=True)
class CommandProtocol:
    """One negotiated sub-protocol."""

    name: str
    version: int
    base64: bool = False

    @property
    def resizes(self) -> bool:
        return self.version >= 3

    @property
    def reports_exit_code(self) -> bool:
        return self.version >= 4

    @property
    def closes_channels(self) -> bool:
        return self.version >= 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams a request asks for; a terminal has no stderr of its own."""

    tty: bool
    stdin: bool
    stdout: bool
    stderr: bool

    def streams(self, protocol: CommandProtocol) -> frozenset[StreamType]:
        """What a SPDY client opens before the command starts; always the error stream."""
        asked = {
            StreamType.ERROR: True,
            StreamType.STDIN: self.stdin,
            StreamType.STDOUT: self.stdout,
            StreamType.STDERR: self.stderr and not self.tty,
            StreamType.RESIZE: self.tty and protocol.resizes,
        }
        return frozenset(kind for kind, wanted in asked.items() if wanted)


UNNAMED = CommandProtocol("", 1)
"""A client that names no protocol speaks version 1."""

# Best first; the choice is by the client's order, since it is the one that has to go on with it.
SPDY_PROTOCOLS = tuple(
    CommandProtocol(f"v{version}.channel.k8s.io" if version > 1 else "channel.k8s.io", version)
    for version in (4, 3, 2, 1)
)
WEBSOCKET_PROTOCOLS = (
    CommandProtocol("v5.channel.k8s.io", 5),
    *SPDY_PROTOCOLS,
    CommandProtocol("v4.base64.channel.k8s.io", 4, base64=True),
    CommandProtocol("base64.channel.k8s.io", 1, base64=True),
)


def choose_protocol(
    offered: Iterable[str], known: Iterable[CommandProtocol]
) -> CommandProtocol | None:
    """The first name the client offers that we know; UNNAMED if it offers none; else None."""
    # A client without any is from before the versions had names.
    names = tuple(offered)
    if not names:
        return UNNAMED
    table = {protocol.name: protocol for protocol in known}
    return next((table[name] for name in names if name in table), None)


@dataclass(frozen=True, slots=True)
class Exited:
    """The command ran; `code` is 0 to 255, 128+n for signal n."""

    code: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The command could not be run, or its end could not be learned."""

    message: str


Outcome = Exited | Failed


def encode_outcome(outcome: Outcome, protocol: CommandProtocol) -> bytes:
    """The bytes for the error stream; may be empty."""
    if protocol.reports_exit_code:
        return json.dumps(_status(outcome), separators=(",", ":")).encode()
    match outcome:
        case Exited(0):
            return b""
        case Exited(code):
            return _exit_text(code).encode()
        case Failed(message):
            return message.encode()


def _status(outcome: Outcome) -> dict[str, object]:
    match outcome:
        case Exited(0):
            return {"metadata": {}, "status": "Success"}
        case Exited(code):
            # kubectl's own exit code is read from here, and only from a cause of this reason.
            causes = [{"reason": "ExitCode", "message": str(code)}]
            return _failure(_exit_text(code), "NonZeroExitCode", causes)
        case Failed(message):
            text = f"Internal error occurred: {message}"
            return _failure(text, "InternalError", [{"message": message}]) | {"code": 500}


def _failure(message: str, reason: str, causes: list[dict[str, str]]) -> dict[str, object]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "details": {"causes": causes},
    }


def _exit_text(code: int) -> str:
    return f"command terminated with exit code {code}"
