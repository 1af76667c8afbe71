"""Namespaces that outlive whoever made them: pinned by bind mounts, with no process inside.

A namespace lives as long as a process is in it, a descriptor is open on it, or its file of
/proc/<pid>/ns is bind-mounted somewhere (namespaces(7)); the mount needs no pause process.

Network, IPC and UTS namespaces belong to a thread, so a throw-away thread makes them (0.4 ms) and
ends. A user namespace can be made and entered by a process of one thread only (EINVAL for the
daemon): util-linux `unshare` keeps it alive until it is pinned.

After a kill -9 in the middle the helper ends by its closed pipe; a pin that was made is found and
released by the record of its sandbox.
"""

import contextlib
import fcntl
import os
import select
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from berth.linux import mounts, syscalls
from berth.linux.files import write_once
from berth.linux.syscalls import Namespace

T = TypeVar("T")

KINDS: Mapping[str, Namespace] = {
    "net": Namespace.NET,
    "ipc": Namespace.IPC,
    "uts": Namespace.UTS,
}
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_HELPER_TIMEOUT = 10.0
"""Seconds that a helper process gets to make its namespaces."""


class IdRange(Protocol):
    """A line of uid_map: `length` ids from `container_id` inside are `host_id` and up outside."""

    @property
    def container_id(self) -> int: ...
    @property
    def host_id(self) -> int: ...
    @property
    def length(self) -> int: ...


def pin(
    kinds: Sequence[str],
    directory: Path,
    inside: Callable[[], None] | None = None,
    userns: Path | None = None,
) -> dict[str, Path]:
    """Make namespaces of these kinds ("net", "ipc", "uts"), pinned at `directory`/<kind>.

    `inside` runs in them before anybody else can (hostname, loopback, sysctls). `userns` is the
    pinned user namespace that owns them: its root, and not the host's alone, may change them.
    Blocks for a millisecond (ten with `userns`). On an error, also one of `inside`, nothing is
    left. The directory must exist.
    """
    flags = Namespace(0)
    for kind in kinds:
        flags |= KINDS[kind]
    with contextlib.ExitStack() as undo:
        if userns is None:
            _in_thread(lambda: _make(flags, kinds, directory, inside, undo))
        else:
            _make_owned(kinds, directory, inside, userns, undo)
        undo.pop_all()
    return {kind: directory / kind for kind in kinds}


def _make(
    flags: Namespace,
    kinds: Sequence[str],
    directory: Path,
    inside: Callable[[], None] | None,
    undo: contextlib.ExitStack,
) -> None:
    syscalls.unshare(flags)
    if inside is not None:
        inside()
    for kind in kinds:
        # /proc/self would be the main thread, which is still in the host's namespaces.
        _pin_file(f"/proc/thread-self/ns/{kind}", directory / kind, undo)


def _make_owned(
    kinds: Sequence[str],
    directory: Path,
    inside: Callable[[], None] | None,
    userns: Path,
    undo: contextlib.ExitStack,
) -> None:
    """As `_make`, by a process inside the user namespace: a thread cannot enter one.

    A namespace is owned by the user namespace in which its maker was; that never changes.
    """
    enter = ["nsenter", f"--user={userns}", "unshare", *(f"--{kind}" for kind in kinds)]
    with _held(enter) as pid:
        for kind in kinds:
            _pin_file(f"/proc/{pid}/ns/{kind}", directory / kind, undo)
    # From the host's user namespace, which has all rights in the ones below it.
    if inside is not None:
        paths = [str(directory / kind) for kind in kinds]
        _in_thread(lambda: _enter_and_call(paths, inside))


def _pin_file(source: str, path: Path, undo: contextlib.ExitStack) -> None:
    # A mount of a file needs a file to be mounted on; an old one may still pin a namespace.
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    undo.callback(unpin, path)
    mounts.bind(source, path)


def pin_user(uids: Sequence[IdRange], gids: Sequence[IdRange], directory: Path) -> Path:
    """Make a user namespace with these mappings, pinned at `directory`/user. Blocks for some ms."""
    path = directory / "user"
    with contextlib.ExitStack() as undo:
        with _held(["unshare", "--user"]) as pid:
            _write_map(f"/proc/{pid}/uid_map", uids)
            _write_map(f"/proc/{pid}/gid_map", gids)
            _pin_file(f"/proc/{pid}/ns/user", path, undo)
        undo.pop_all()
    return path


def _write_map(path: str, ranges: Sequence[IdRange]) -> None:
    """Give a user namespace its ids; the kernel takes the whole map in one write, and only once.

    At most 340 lines, less than a page of text, of ids that do not overlap (user_namespaces(7)).
    """
    text = "".join(f"{r.container_id} {r.host_id} {r.length}\n" for r in ranges)
    try:
        write_once(path, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: ids {text.strip()!r}", path) from None


@contextlib.contextmanager
def _held(enter: Sequence[str]) -> Iterator[int]:
    """A process that `enter` has put into new namespaces; it ends with the context.

    It is `cat`: the byte that it echoes shows that `unshare` is done and has executed it.
    """
    process = subprocess.Popen(
        [*enter, "cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):  # it failed already: stderr says why
            process.stdin.write(b".")
        # poll, for select(2) fails on descriptors above 1023, which a daemon with many pods has.
        ready = select.poll()
        ready.register(process.stdout, select.POLLIN)
        if not ready.poll(_HELPER_TIMEOUT * 1000) or process.stdout.read(1) != b".":
            process.kill()
            said = process.stderr.read().decode(errors="replace").strip()
            raise OSError(f"cannot make namespaces with {' '.join(enter)}: {said or 'it hung'}")
        yield process.pid
    finally:
        # The namespaces live on by their pins. Reaped at once: nobody else waits for it.
        process.kill()
        process.communicate()


def unpin(path: Path) -> None:
    """Release a pinned namespace: unmount and remove its file; missing is fine."""
    # Lazily, for a process that looks at the file makes it busy; it may be mounted on twice, by a
    # create that was killed and its retry.
    while mounts.unmount(path, lazy=True):
        pass
    path.unlink(missing_ok=True)


def run_inside(path: str, fn: Callable[[], T]) -> T:
    """Call `fn` in the namespace at this path, on a thread of its own that ends; blocks.

    Any kind but user and mount namespaces, which a single thread cannot enter. The thread ends
    with the call, so that no pool thread stays in a pod by mistake.
    """
    return _in_thread(lambda: _enter_and_call([path], fn))


def _enter_and_call(paths: Sequence[str], fn: Callable[[], T]) -> T:
    for path in paths:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            syscalls.setns(fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(fd)
    return fn()


def _in_thread(fn: Callable[[], T]) -> T:
    """Call on a fresh thread: the namespaces it changes to are its own, and end with it."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(fn())
        except BaseException as error:
            errors.append(error)

    # A daemon thread: one that hangs in a dead namespace must not keep the process from ending.
    thread = threading.Thread(target=body, name="namespace", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def loopback_up() -> None:
    """Bring up `lo` of the thread's network namespace; the kernel makes it down.

    By ioctl (netdevice(7)): three system calls, and no netlink socket for one flag.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        # struct ifreq: a name of 16 bytes, and a union that holds the flags as a short.
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def set_hostname(name: str) -> None:
    """Set the name of the thread's UTS namespace."""
    socket.sethostname(name)


def write_sysctls(sysctls: Mapping[str, str]) -> None:
    """Set sysctls of the thread's namespaces; OSError names the first that fails.

    /proc/sys shows those of the namespaces in which the thread opens the file. A name is
    `net.ipv4.ip_forward` or `net/ipv4/conf/eth0.1/forwarding` (see `sysctl_path`).
    """
    for name, value in sysctls.items():
        path = sysctl_path(name)
        try:
            _write_sysctl(path, value)
        except OSError as error:
            raise OSError(error.errno, f"sysctl {name}={value}: {error.strerror}", path) from None


def _write_sysctl(path: str, value: str) -> None:
    """Write as the host's root, or, where that is refused, as the owner of the file.

    Sysctls of an IPC namespace may be written by the root of the user namespace that owns it
    alone: the kernel compares ids, and the host's root has another one.
    """
    try:
        write_once(path, value.encode())
    except PermissionError:
        owner = Path(path).stat().st_uid
        if owner == os.geteuid():
            raise
        with _effective_user(owner):
            write_once(path, value.encode())


@contextlib.contextmanager
def _effective_user(uid: int) -> Iterator[None]:
    """Have another effective user, this thread alone."""
    before = os.geteuid()
    syscalls.set_thread_euid(uid)
    try:
        yield
    finally:
        syscalls.set_thread_euid(before)


def sysctl_path(name: str) -> str:
    """The file of a sysctl below /proc/sys; ValueError for a name that climbs.

    The separator that comes first counts (sysctl(8)): in `net/ipv4/conf/eth0.1/forwarding` the dot
    is part of a name, and in `net.ipv4.conf.eth0/1.forwarding` the slash stands for that dot.
    """
    dot, slash = name.find("."), name.find("/")
    if dot >= 0 and (slash < 0 or dot < slash):
        name = name.translate(str.maketrans("./", "/."))
    if ".." in name.split("/"):
        raise ValueError(f"sysctl {name!r} climbs with ..")
    return f"/proc/sys/{name}"
