"""Traffic of pods, read inside their network namespaces."""

import os
import time
from collections.abc import Iterable, Mapping

from berth.linux import namespaces, syscalls
from berth.linux.syscalls import Namespace
from cri_shim.stats.usage import Interface, NetworkUsage

# Of the thread: /proc/net is a link to the process's, whose main thread is in the host's namespace.
_NETDEV = "/proc/thread-self/net/dev"
_SIZE = 1 << 16


def parse(netdev: bytes, at: int) -> NetworkUsage:
    """A /proc/net/dev. The default interface is eth0, else the first that is not loopback."""
    found = [_interface(line) for line in netdev.splitlines() if b":" in line]
    real = [interface for interface in found if interface.name != "lo"]
    default = next((i for i in real if i.name == "eth0"), real[0] if real else None)
    return NetworkUsage(at, default, tuple(i for i in real if i is not default))


def _interface(line: bytes) -> Interface:
    """Eight columns received, eight sent: bytes packets errs drop fifo ..."""
    name, _, rest = line.rpartition(b":")
    n = [int(word) for word in rest.split()]
    return Interface(os.fsdecode(name.strip()), *n[0:4], *n[8:12])


def read_all(paths: Iterable[str]) -> Mapping[str, NetworkUsage]:
    """The traffic of each pinned network namespace; those that are gone are left out.

    One throw-away thread visits them all: 0.1 ms and about 20 µs for each. Blocks.
    """
    wanted = list(paths)
    if not wanted:
        return {}
    # A thread that has entered a namespace never goes back to the pool: something else would run in
    # the pod's network.
    return namespaces.run_inside(wanted[0], lambda: _visit(wanted)) if _there(wanted) else {}


def _there(paths: list[str]) -> bool:
    """Drop namespaces that are gone from the front, so that the thread has one to begin in."""
    while paths and not os.path.exists(paths[0]):
        paths.pop(0)
    return bool(paths)


def _visit(paths: list[str]) -> dict[str, NetworkUsage]:
    found = {}
    for path in paths:
        try:
            found[path] = _visit_one(path)
        except OSError:
            continue
    return found


def _visit_one(path: str) -> NetworkUsage:
    namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(namespace, Namespace.NET)
    finally:
        os.close(namespace)
    fd = os.open(_NETDEV, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b"".join(iter(lambda: os.read(fd, _SIZE), b""))
    finally:
        os.close(fd)
    return parse(data, time.time_ns())
