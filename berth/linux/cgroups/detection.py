"""Which cgroup layout the host has, read from its mount table."""

from collections.abc import Iterable

from berth.linux import mounts
from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.cgroups.v1 import CgroupsV1
from berth.linux.cgroups.v2 import CgroupsV2
from berth.linux.files import read_text
from berth.linux.mounts import MountPoint

# A v1 mount names its controllers and named hierarchies among its options; these are the others.
_FLAGS = frozenset(
    {"rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode", "release_agent"}
)


def detect(mountinfo: str | None = None) -> Cgroups:
    """The host's control groups; None reads our own mount table.

    OSError where neither v1 nor v2 is mounted.
    """
    text = mountinfo if mountinfo is not None else read_text(mounts.MOUNTINFO)
    points = mounts.parse(text or "")
    roots = _v1_roots(point for point in points if point.fstype == "cgroup")
    unified = next((point.target for point in points if point.fstype == "cgroup2"), None)
    # systemd mounts its named v1 hierarchy even where all controllers are on v2: a v1 host is
    # one with a controller on v1.
    if any(not name.startswith("name=") for name in roots):
        return CgroupsV1(roots, unified)
    if unified is None:
        raise OSError("no cgroups are mounted: mount cgroup2 on /sys/fs/cgroup")
    return CgroupsV2(unified)


def _v1_roots(points: Iterable[MountPoint]) -> dict[str, str]:
    """Controllers and named hierarchies with their mount points.

    The first of several mounts counts: a later one may be a bind mount of a part.
    """
    roots: dict[str, str] = {}
    for point in points:
        for option in point.super_options:
            key = option.partition("=")[0]
            if key not in _FLAGS:
                roots.setdefault(option, point.target)
    return roots
