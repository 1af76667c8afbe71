"""What the OCI runtime and CRIU wrote, as plain text: runc's log lines and crun's bare ones.

runc logs by logrus, `time="…" level=error msg="…"`, with a frame of Go's error wrapping around the
cause; crun writes the cause, sometimes behind a time stamp. Users read the cause in the events of
their pods.
"""

import json
import re

_LOGRUS = re.compile(r'level=(?P<level>error|fatal)\s+msg=(?P<message>"(?:[^"\\]|\\.)*"?|\S+)')
_CRIU_ERROR = re.compile(r"Error \([^)]*\): (?P<cause>.+)")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z?: ")
_FRAMES = (
    re.compile(r"^runc (create|exec|run|restore) failed: "),
    re.compile(r"^exec failed: "),
    re.compile(r"^unable to start container process: "),
    re.compile(r"^error during container init: "),
)


def plain(stderr: bytes) -> str:
    """The cause out of a runtime's stderr, without time stamps and frames that say nothing.

    runc's warnings are left out where an error line follows; an empty text stays empty.
    """
    text = stderr.decode("utf-8", "replace")
    # There may be several; runc ends with the last.
    errors = [_unquote(found["message"]) for found in _LOGRUS.finditer(text)]
    lines = errors[-1:] or [_STAMP.sub("", line) for line in text.splitlines() if line.strip()]
    return "; ".join(_unframe(line.strip()) for line in lines)


def criu(log: str) -> str:
    """The first errors of a log of CRIU, which the others follow from; empty where it has none."""
    return "; ".join([found["cause"] for found in _CRIU_ERROR.finditer(log)][:3])


def _unquote(text: str) -> str:
    """Go's %q quoting, of which JSON's is close enough for messages."""
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text, strict=False))
    except ValueError:
        return text.strip('"')  # cut off: conmon passes on 8 KiB at most


def _unframe(line: str) -> str:
    for frame in _FRAMES:
        line = frame.sub("", line)
    return line
