"""The server on a unix socket: whom it lets in, and whom it does not push aside."""

import os
import socket
import stat
from pathlib import Path

import pytest

from berth.base.errors import FailedPrecondition
from berth.base.grpc_server import UnixServer


async def test_the_socket_is_for_root_alone_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "run" / "a.sock"
    before = os.umask(0o022)
    os.umask(before)
    server = UnixServer(path)
    await server.start()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.umask(before) == before, "the umask is what it was"
    await server.stop(0)
    assert not path.exists()


async def test_a_served_socket_is_left_to_its_server(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    first, second = UnixServer(path), UnixServer(path)
    await first.start()
    inode = path.stat().st_ino
    with pytest.raises(FailedPrecondition, match=f"another daemon serves on {path}: stop it"):
        await second.start()
    assert path.stat().st_ino == inode
    await first.stop(0)


async def test_a_socket_that_nobody_serves_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    server = UnixServer(path)
    await server.start()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    await server.stop(0)


async def test_a_socket_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120)
    with pytest.raises(OSError, match="x: cannot listen"):
        await UnixServer(path).start()
