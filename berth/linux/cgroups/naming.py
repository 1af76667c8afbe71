"""Names of groups under the two drivers that kubelet knows: cgroupfs and systemd.

With cgroupfs kubelet sends a path (`/kubepods/burstable/pod1`), with systemd a slice: its place
follows from its name (`kubepods-burstable-pod1.slice`).
"""

import re
from enum import Enum
from pathlib import Path

DEFAULT_PARENT = "/berth"
DEFAULT_SLICE = "system.slice"
# What systemd takes for a slice's name: each dash is a level, so none is at an end or doubled.
_SLICE = re.compile(r"(?:[A-Za-z0-9:_.\\]+-)*[A-Za-z0-9:_.\\]+\.slice\Z")


class Driver(Enum):
    """How groups are made: by the runtime with mkdir(2), or by systemd as units."""

    CGROUPFS = "cgroupfs"
    SYSTEMD = "systemd"


class BadCgroupParent(ValueError):
    """The parent's form does not fit the driver; the message says which form does."""


def choose_driver(name: str) -> Driver:
    """The driver of this name; `auto` means systemd where that is init (sd_booted(3))."""
    if name == "auto":
        return Driver.SYSTEMD if Path("/run/systemd/system").is_dir() else Driver.CGROUPFS
    return Driver(name)


def check_parent(driver: Driver, parent: str) -> None:
    """Raise BadCgroupParent where the parent is not in the driver's form; empty is fine."""
    if ".." in parent.split("/"):
        raise BadCgroupParent(f"cgroup parent {parent!r} climbs with ..")
    last = parent.rstrip("/").rpartition("/")[2]
    if not last:
        return
    # Two drivers on one node put pods outside kubelet's groups, where its limits do not reach.
    match driver:
        case Driver.CGROUPFS if last.endswith(".slice"):
            raise BadCgroupParent(
                f"cgroup parent {parent!r} is a systemd slice, but this node uses the cgroupfs "
                "driver: set the same driver in kubelet and in the runtime"
            )
        case Driver.SYSTEMD if not _SLICE.match(last):
            raise BadCgroupParent(
                f"cgroup parent {parent!r} is not a systemd slice such as kubepods-pod1.slice, "
                "and this node uses the systemd driver: set the same driver in kubelet and in "
                "the runtime"
            )
        case Driver.CGROUPFS | Driver.SYSTEMD:
            return


def container_path(driver: Driver, parent: str, id: str) -> str:
    """The `cgroupsPath` of an OCI document: `/parent/id`, or `slice:berth:id` for systemd."""
    check_parent(driver, parent)
    match driver:
        case Driver.CGROUPFS:
            return f"{pod_path(driver, parent)}/{id}"
        case Driver.SYSTEMD:
            # slice:prefix:name; runc and crun make the scope `prefix-name.scope` of it.
            return f"{_slice(parent)}:berth:{id}"


def pod_path(driver: Driver, parent: str) -> str:
    """The pod's group as a path below the hierarchies' roots."""
    check_parent(driver, parent)
    match driver:
        case Driver.CGROUPFS:
            return "/" + (parent.strip("/") or DEFAULT_PARENT.strip("/"))
        case Driver.SYSTEMD:
            return expand_slice(_slice(parent))


def filesystem_path(driver: Driver, parent: str, id: str) -> str:
    """A container's group as a path below the hierarchies' roots."""
    leaf = id if driver is Driver.CGROUPFS else f"berth-{id}.scope"
    return f"{pod_path(driver, parent)}/{leaf}"


def _slice(parent: str) -> str:
    return parent.rstrip("/").rpartition("/")[2] or DEFAULT_SLICE


def expand_slice(name: str) -> str:
    """`a-b.slice` lies in `a.slice`: `/a.slice/a-b.slice` (systemd.slice(5)); `-.slice` is `/`."""
    if name == "-.slice":
        return "/"
    parts = name.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[: n + 1])}.slice" for n in range(len(parts)))
