"""Directories of one hierarchy: made, removed, their processes listed and killed.

What rmdir(2) of a group needs, on v1 and v2 alike: no group below it and no living process in it.
A zombie is still counted to its group (/proc/<pid>/cgroup) but keeps nobody from removing it.
"""

import errno
import os
import re
import signal
import time
from collections.abc import Callable, Iterable

_PAUSE = 0.002
"""Seconds between two looks at a group that processes are leaving."""


def directory(root: str, path: str) -> str:
    """The directory of a group; ValueError for a path that climbs."""
    if ".." in path.split("/"):
        raise ValueError(f"cgroup path {path!r} climbs with ..")
    return f"{root}/{path.strip('/')}".rstrip("/")


def steps(root: str, path: str) -> list[str]:
    """The directories from the first below the root to the group itself."""
    found = []
    here = root
    for part in path.split("/"):
        if part:
            here = f"{here}/{part}"
            found.append(here)
    return found


def make(path: str) -> bool:
    """Make one directory; False where it is there."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    return True


def subtree(top: str) -> list[str]:
    """The group and all below, children before parents; empty where it is gone."""
    found: list[str] = []
    waiting = [top]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as entries:
                waiting += [e.path for e in entries if e.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            continue  # removed meanwhile, by systemd or the OCI runtime
        found.append(here)
    return found[::-1]


def processes(top: str) -> list[int]:
    """Processes in the group and below."""
    found: dict[int, None] = {}
    for group in subtree(top):
        try:
            with open(f"{group}/cgroup.procs") as lines:
                found.update((int(line), None) for line in lines)
        except FileNotFoundError:
            continue
        except OSError as error:
            # ENODEV: the group went away while its file was open. EOPNOTSUPP: a threaded group
            # (v2) has threads only; their processes are listed by a group above.
            if error.errno not in (errno.ENODEV, errno.EOPNOTSUPP):
                raise
    found.pop(0, None)  # how a process shows that our PID namespace does not contain
    return list(found)


def remove(top: str, deadline: float) -> None:
    """Remove the group and all below, waiting for leaving processes until the deadline.

    The deadline is on the monotonic clock.
    """
    for group in subtree(top):
        _remove_one(group, deadline)


def _remove_one(group: str, deadline: float) -> None:
    # A process leaves the list when it begins to exit, and the group only after it has given its
    # memory back: in between rmdir says EBUSY of a group that looks empty. No file tells of the
    # end of that on v1, so it is tried again.
    while True:
        try:
            os.rmdir(group)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                raise _busy(error, group) from None
            time.sleep(_PAUSE)
        else:
            return


def _busy(error: OSError, group: str) -> OSError:
    inside = processes(group)
    what = f"{error.strerror}: processes {inside} are inside" if inside else error.strerror
    return OSError(error.errno, what, group)


def kill(
    path: str,
    timeout: float,
    listing: Callable[[str], Iterable[int]],
    strike: Callable[[str], None],
) -> None:
    """Kill what `listing` finds in the group, by `strike`, until it finds nobody.

    Repeated, for a process may be moved in by others between the two. TimeoutError names the
    survivors, PermissionError says that this process is in the group.
    """
    refuse_root(path)
    deadline = time.monotonic() + timeout
    while left := list(listing(path)):
        if os.getpid() in left:
            raise PermissionError(errno.EPERM, "the daemon itself is in it: not killed", path)
        if time.monotonic() >= deadline:
            raise TimeoutError(f"cgroup {path}: processes {left} do not die")
        strike(path)
        time.sleep(_PAUSE)


def kill_each(pids: Iterable[int]) -> None:
    """Send SIGKILL to each; one that is gone needs none."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def refuse_root(path: str) -> None:
    """ValueError for the root group: killing it would end the host."""
    if not path.strip("/"):
        raise ValueError("the root cgroup is neither killed nor removed")


def page_sizes(directory: str, pattern: re.Pattern[str]) -> list[str]:
    """Huge page sizes that have files in the directory."""
    if not directory or not os.path.isdir(directory):
        return []
    found = (pattern.match(name) for name in os.listdir(directory))
    return sorted(match[1] for match in found if match)
