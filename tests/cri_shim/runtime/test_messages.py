"""Plain words out of what runc and crun print, and JSON that both accept."""

import json

import pytest

from cri_shim.oci.document import render
from cri_shim.runtime import messages


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        (
            b'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: unable to start'
            b' container process: exec: \\"nope\\": executable file not found in $PATH"\n',
            'exec: "nope": executable file not found in $PATH',
        ),
        (
            b'time="x" level=warning msg="Failed to remove cgroup (will retry)" error="busy"\n'
            b'time="x" level=error msg="container does not exist"\n',
            "container does not exist",
        ),
        (
            b"2026-01-01T00:00:00.123456Z: chdir `/x`: Not a directory\n",
            "chdir `/x`: Not a directory",
        ),
        (b"first\n\nsecond\n", "first; second"),
        (b"", ""),
        (b"\xff\n", "�"),
        (b'level=error msg="cut in the mid', "cut in the mid"),
    ],
)
def test_the_cause_is_left(said: bytes, plain: str) -> None:
    assert messages.plain(said) == plain


def test_bytes_that_json_cannot_hold_become_replacement_characters() -> None:
    document = {"args": ["a\udcff\udcfeb", "ö"]}
    assert json.loads(render(document)) == {"args": ["a\ufffd\ufffdb", "ö"]}
