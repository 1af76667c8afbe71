"""Namespaces pinned without a process, prepared inside before anybody sees them."""

import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from berth.linux import mounts
from berth.linux.namespaces import (
    loopback_up,
    pin,
    pin_user,
    run_inside,
    set_hostname,
    sysctl_path,
    unpin,
    write_sysctls,
)

KINDS = ("net", "ipc", "uts")


class Range:
    def __init__(self, container_id: int, host_id: int, length: int) -> None:
        self.container_id = container_id
        self.host_id = host_id
        self.length = length


IDS = [Range(0, 300_000, 65_536)]


def _names(directory: Path | str) -> list[str]:
    return sorted(entry.name for entry in Path(directory).iterdir())


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    threads = threading.active_count()
    ours = {kind: Path(f"/proc/self/ns/{kind}").readlink() for kind in KINDS}
    yield tmp_path
    for kind in (*KINDS, "user"):
        unpin(tmp_path / kind)
    assert mounts.mounts_below(tmp_path) == []
    assert _names(tmp_path) == []
    assert threading.active_count() == threads
    assert {kind: Path(f"/proc/self/ns/{kind}").readlink() for kind in KINDS} == ours


def _prepare() -> None:
    set_hostname("inside")
    loopback_up()
    write_sysctls({"net.ipv4.ip_unprivileged_port_start": "42", "kernel.shmmax": "1048576"})


def _connects() -> bool:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()
    return True


def _check_prepared(pinned: dict[str, Path]) -> None:
    def port_start() -> str:
        return Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()

    def shm() -> str:
        return Path("/proc/sys/kernel/shmmax").read_text()

    assert run_inside(str(pinned["uts"]), socket.gethostname) == "inside"
    assert run_inside(str(pinned["net"]), port_start) == "42\n"
    assert run_inside(str(pinned["ipc"]), shm) == "1048576\n"
    assert run_inside(str(pinned["net"]), _connects)


def test_pinned_namespaces_are_prepared_and_stay(directory: Path) -> None:
    host = socket.gethostname()
    pinned = pin(KINDS, directory, _prepare)
    assert set(pinned) == set(KINDS)
    _check_prepared(pinned)
    assert socket.gethostname() == host
    for kind, path in pinned.items():
        assert path.stat().st_ino != Path(f"/proc/self/ns/{kind}").stat().st_ino


def test_one_kind_alone(directory: Path) -> None:
    assert pin(["uts"], directory) == {"uts": directory / "uts"}


def test_namespaces_owned_by_a_user_namespace(directory: Path) -> None:
    user = pin_user(IDS, IDS, directory)
    pinned = pin(KINDS, directory, _prepare, userns=user)
    _check_prepared(pinned)
    owner = 0xB701  # NS_GET_USERNS of ioctl_ns(2)
    fd = os.open(pinned["net"], os.O_RDONLY)
    owned_by = fcntl.ioctl(fd, owner)
    assert os.fstat(owned_by).st_ino == user.stat().st_ino
    os.close(owned_by)
    os.close(fd)


def test_an_error_inside_leaves_nothing(directory: Path) -> None:
    def fails() -> None:
        raise ValueError("cannot prepare")

    with pytest.raises(ValueError, match="cannot prepare"):
        pin(KINDS, directory, fails)
    assert _names(directory) == []
    user = pin_user(IDS, IDS, directory)
    with pytest.raises(ValueError, match="cannot prepare"):
        pin(KINDS, directory, fails, userns=user)
    assert _names(directory) == ["user"]


def test_a_taken_place_is_refused_and_kept(directory: Path) -> None:
    pinned = pin(["net"], directory)
    inode = pinned["net"].stat().st_ino
    with pytest.raises(FileExistsError):
        pin(["ipc", "net"], directory)
    assert _names(directory) == ["net"]
    assert pinned["net"].stat().st_ino == inode


def test_a_map_that_the_kernel_refuses(directory: Path) -> None:
    with pytest.raises(OSError, match=r"0 300000 0.*uid_map"):
        pin_user([Range(0, 300_000, 0)], IDS, directory)
    assert _names(directory) == []


def test_a_user_namespace_that_is_missing(directory: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        pin(["net"], directory, userns=directory / "nowhere")
    assert _names(directory) == []


def test_run_inside_gives_errors_and_names_a_missing_path(directory: Path) -> None:
    pinned = pin(["net"], directory)

    def fails() -> None:
        raise LookupError("from inside")

    with pytest.raises(LookupError, match="from inside"):
        run_inside(str(pinned["net"]), fails)
    with pytest.raises(FileNotFoundError, match="none"):
        run_inside(str(directory / "none"), fails)
    (directory / "plain").touch()
    with pytest.raises(OSError, match="plain"):
        run_inside(str(directory / "plain"), fails)
    (directory / "plain").unlink()


def test_a_sysctl_that_fails_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"sysctl net.no_such=1"):
        write_sysctls({"net.no_such": "1"})
    with pytest.raises(ValueError, match="climbs"):
        write_sysctls({"net/../../x": "1"})


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("kernel", "kernel"),
    ],
)
def test_both_forms_of_sysctl_names(name: str, path: str) -> None:
    assert sysctl_path(name) == f"/proc/sys/{path}"


def test_unpin_of_nothing(tmp_path: Path) -> None:
    unpin(tmp_path / "none")
