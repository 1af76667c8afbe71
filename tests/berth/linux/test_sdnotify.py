"""Messages to the service manager."""

import socket
from pathlib import Path

import pytest

from berth.linux.sdnotify import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_reaches_the_socket(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"@{tmp_path}/notify" if abstract else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify("READY=1\nSTATUS=serving")
        assert receiver.recv(99) == b"READY=1\nSTATUS=serving"


@pytest.mark.parametrize("value", ["", "relative", "/nowhere/at/all"])
def test_nobody_listens(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", value)
    assert not notify("READY=1")
