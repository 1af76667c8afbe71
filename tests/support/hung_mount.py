"""A file system whose server has stopped answering, as a dead NFS server looks to its clients."""

import contextlib
import os
import select
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

from berth.linux import mounts
from tests.support.mounts import filesystem

_BUFFER = 1 << 17
_INIT = 26
"""FUSE_INIT (include/uapi/linux/fuse.h): the only request that gets an answer."""


@contextlib.contextmanager
def hung_mount(target: Path) -> Iterator[None]:
    """Mounted at `target` while the context lasts: whoever looks at it waits, beyond SIGKILL.

    A FUSE server that reads its requests and does not answer; its end wakes all who wait.
    """
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    woken, wake = os.pipe()
    data = f"fd={device},rootmode=40000,user_id=0,group_id=0"
    filesystem("berth-hung", target, "fuse", data=data)
    server = threading.Thread(target=_serve, args=(device, woken), name="hung mount")
    server.start()
    try:
        yield
    finally:
        mounts.unmount(target, lazy=True)
        os.close(wake)
        server.join()
        os.close(woken)
        os.close(device)


def _serve(device: int, woken: int) -> None:
    poll = select.poll()
    for fd in (device, woken):
        poll.register(fd, select.POLLIN)
    with contextlib.suppress(OSError, struct.error):  # unmounted, perhaps amid an answer
        while woken not in dict(poll.poll()):
            request = os.read(device, _BUFFER)
            _, opcode, unique = struct.unpack_from("=IIQ", request)
            if opcode == _INIT:
                body = struct.pack("=IIIIHHI40x", 7, 31, 0, 0, 16, 12, 4096)
                os.write(device, struct.pack("=IiQ", 16 + len(body), 0, unique) + body)
