"""Lines of a container's log in the CRI format: time, stream, tags, text.

    2016-10-06T00:17:09.669794202Z stdout F a whole line
    2016-10-06T00:17:09.669794203Z stderr P the beginning of a long line

Tags are separated by colons; the first is P (the line goes on in the stream's next entry) or F.
Source: Kubernetes design proposal "Redesign Kubelet CRI logging format".
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_LINE = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) (stdout|stderr) "
    rb"([PF])(?::[^ ]*)? ?(.*)",
    re.DOTALL,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class LogLineError(Exception):
    """The line is not in the CRI format."""


@dataclass(frozen=True, slots=True)
class LogLine:
    time_ns: int
    """Since 1970, UTC."""
    stream: str
    partial: bool
    text: bytes
    """Any bytes but newline."""


def parse_line(line: bytes) -> LogLine:
    """One entry, with or without its newline; LogLineError for anything else."""
    found = _LINE.fullmatch(line.removesuffix(b"\n"))
    if not found:
        raise LogLineError(f"not a CRI log line: {line[:60]!r}")
    seconds, fraction, zone, stream, tag, text = found.groups()
    time_ns = _nanoseconds(seconds.decode(), fraction or b"", zone.decode())
    return LogLine(time_ns, stream.decode(), tag == b"P", text)


def join_partials(entries: Iterable[LogLine]) -> Iterator[LogLine]:
    """Whole lines, each with the time of its last entry; beginnings without an end come last."""
    begun: dict[str, LogLine] = {}
    for entry in entries:
        before = begun.pop(entry.stream, None)
        if before is not None:
            text = before.text + entry.text
            entry = LogLine(entry.time_ns, entry.stream, entry.partial, text)
        if entry.partial:
            begun[entry.stream] = entry
        else:
            yield entry
    yield from begun.values()


def _nanoseconds(seconds: str, fraction: bytes, zone: str) -> int:
    try:
        moment = datetime.fromisoformat(seconds + zone)
    except ValueError as error:
        raise LogLineError(f"not a CRI log time: {seconds}{zone}") from error
    return (moment - _EPOCH) // _SECOND * 10**9 + int(fraction.ljust(9, b"0"))
