"""How a command ended, as the error stream of exec and attach says it.

Version 4 and later: one JSON `Status` of the Kubernetes API. Before: nothing for success, else a
line of text.
"""

import json
from dataclasses import dataclass

from cri_shim.wire.remote_command import CommandProtocol


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
