"""Reads container logs in the CRI format as conmon writes it: time, stream, tag, text.

2016-10-06T00:17:09.669794202Z stdout F a whole line
2016-10-06T00:17:09.669794203Z stderr P the beginning of a long line
"""

import re

_ENTRY = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([PF]) (.*)"
)


def entries(data: bytes) -> list[tuple[str, str, bytes]]:
    """(stream, tag, text) of each entry; every line must be one."""
    found = []
    *lines, rest = data.split(b"\n")
    assert rest == b""
    for line in lines:
        match = _ENTRY.fullmatch(line)
        assert match, line[:200]
        found.append((match[2].decode(), match[3].decode(), match[4]))
    return found


def joined(data: bytes, stream: str = "stdout") -> list[bytes]:
    """The whole lines of a stream: pieces tagged P go before what follows."""
    lines, rest = [], b""
    for name, tag, text in entries(data):
        if name == stream:
            rest += text
            if tag == "F":
                lines.append(rest)
                rest = b""
    assert rest == b"", "the last line is not ended"
    return lines
