"""What granted requests open, made of plain processes on this host in place of containers."""

import asyncio
import fcntl
import os
import pty
import signal
import socket
import struct
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field

from berth.base.errors import NotFound
from berth.linux.processes import Process, spawn
from cri_shim.wire.remote_command import Wanted


@dataclass
class LocalExec:
    """A process, with pipes or a pty."""

    process: Process
    stdin: int | None
    stdout: int | None
    stderr: int | None
    tty: bool
    closed: bool = False

    def close_stdin(self) -> None:
        if not self.tty and self.stdin is not None:
            os.close(self.stdin)
            self.stdin = None

    async def resize(self, width: int, height: int) -> None:
        assert self.tty
        assert self.stdout is not None
        fcntl.ioctl(self.stdout, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    async def wait(self) -> int:
        return await self.process.wait()

    async def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for fd in {self.stdin, self.stdout, self.stderr} - {None}:
            os.close(fd)
        if self.process.send_group(signal.SIGKILL):
            await self.process.wait()
        self.process.close()


@dataclass
class LocalAttach:
    """Our half of a SEQPACKET pair; the test plays conmon on the other."""

    socket: socket.socket
    sizes: list[tuple[int, int]] = field(default_factory=list)

    async def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))

    async def close(self) -> None:
        self.socket.close()


class LocalOpener:
    """Starts what it is asked to, and remembers it for the test."""

    def __init__(self) -> None:
        self.execs: list[LocalExec] = []
        self.attached: list[LocalAttach] = []
        self.conmon: list[socket.socket] = []
        self.dialled: list[tuple[str, int]] = []

    async def exec(self, container_id: str, command: Sequence[bytes], wanted: Wanted) -> LocalExec:
        if container_id == "absent":
            raise NotFound("container absent does not exist")
        make = start_on_pty if wanted.tty else start_on_pipes
        session = make(command, wanted.stdin, wanted.stdout, wanted.stderr)
        self.execs.append(session)
        return session

    async def attach(self, container_id: str, wanted: Wanted) -> LocalAttach:
        ours, conmons = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (ours, conmons):
            end.setblocking(False)
        self.conmon.append(conmons)
        self.attached.append(LocalAttach(ours))
        return self.attached[-1]

    async def dial(self, sandbox_id: str, port: int) -> socket.socket:
        self.dialled.append((sandbox_id, port))
        sock = socket.socket()
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except OSError:
            sock.close()
            raise
        return sock


def start_on_pipes(command: Sequence[bytes], stdin: bool, stdout: bool, stderr: bool) -> LocalExec:
    theirs, ours = [], []
    for wanted, reads in ((stdin, True), (stdout, False), (stderr, False)):
        if not wanted:
            theirs.append(None)
            ours.append(None)
            continue
        read, write = os.pipe2(os.O_CLOEXEC)
        fcntl.fcntl(read, fcntl.F_SETPIPE_SZ, 1 << 20)
        theirs.append(read if reads else write)
        ours.append(write if reads else read)
        os.set_blocking(ours[-1], False)
    process = spawn(command, stdin=theirs[0], stdout=theirs[1], stderr=theirs[2], new_session=True)
    for fd in theirs:
        if fd is not None:
            os.close(fd)
    return LocalExec(process, *ours, tty=False)


def start_on_pty(command: Sequence[bytes], stdin: bool, stdout: bool, stderr: bool) -> LocalExec:
    assert not stderr
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    process = spawn(command, stdin=slave, stdout=slave, stderr=slave, new_session=True)
    os.close(slave)
    return LocalExec(process, master if stdin else None, master if stdout else None, None, tty=True)
