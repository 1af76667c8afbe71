"""What the documents need to know of this host; read once at start."""

import logging
import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

from berth.linux import selinux
from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.files import read_text
from berth.linux.selinux import Contexts
from cri_shim.oci import capabilities
from cri_shim.oci.facts import AppArmorFacts, CgroupFacts, DeviceNode, Layout

log = logging.getLogger(__name__)

DEVICE_SKIP = frozenset({"pts", "shm", "mqueue", "console", "fd", "stdin", "stdout", "stderr"})
"""Entries of /dev that every container has of its own."""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Capabilities are names with CAP_; `oom_floor` is the lowest score the daemon may set."""

    capabilities: frozenset[str]
    known_capabilities: frozenset[str]
    architecture: str
    kernel: tuple[int, int]
    cgroup: CgroupFacts
    seccomp: bool
    oom_floor: int
    may_raise: bool
    """CAP_SYS_RESOURCE: limits may be raised, OOM scores lowered."""
    selinux: Contexts | None
    """None without SELinux, or where its policy knows no containers: then nothing is labelled."""


def read(cgroups: Cgroups) -> HostFacts:
    status = Path("/proc/self/status").read_text()
    # A child can be given what is in the bounding set, and only by a parent that has it itself: a
    # daemon in a container or under systemd's CapabilityBoundingSet= has less than all.
    bounding = _mask(status, "CapBnd") & _mask(status, "CapPrm")
    known = capabilities.known(int(Path("/proc/sys/kernel/cap_last_cap").read_text()))
    may_raise = bool(bounding >> 24 & 1)  # CAP_SYS_RESOURCE is 24 (linux/capability.h)
    # "6.1.0-18-amd64", "5.14.0-427.el9": only the first two numbers mean the same everywhere.
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    return HostFacts(
        capabilities=capabilities.from_mask(bounding) & known,
        known_capabilities=known,
        architecture=platform.machine(),
        kernel=(int(release[1]), int(release[2])) if release else (0, 0),
        cgroup=_cgroup_facts(cgroups),
        seccomp="Seccomp:" in status,
        oom_floor=-1000 if may_raise else int(read_text("/proc/self/oom_score_adj") or 0),
        may_raise=may_raise,
        selinux=_selinux(),
    )


def _selinux() -> Contexts | None:
    if not selinux.enabled():
        return None
    found = selinux.contexts()
    if found is None:
        log.warning(
            "SELinux is on, but its policy has no contexts for containers, so none is labelled: "
            "install container-selinux and restart cri-shim"
        )
    return found


def _mask(status: str, field: str) -> int:
    found = re.search(rf"^{field}:\s*([0-9a-f]+)", status, re.MULTILINE)
    return int(found[1], 16) if found else 0


def _cgroup_facts(cgroups: Cgroups) -> CgroupFacts:
    sizes = [p.name.removeprefix("hugepages-") for p in Path("/sys/kernel/mm/hugepages").glob("*")]
    return CgroupFacts(
        layout=Layout.V2 if cgroups.layout == "v2" else Layout.V1,
        controllers=cgroups.controllers,
        swap=_accounts_swap(cgroups),
        hugepage_sizes=frozenset(_page_size(int(size.removesuffix("kB"))) for size in sizes),
    )


def _accounts_swap(cgroups: Cgroups) -> bool:
    # The root group has no limits, and so no such file: a group below it shows whether the kernel
    # accounts swap (CONFIG_SWAP, `swapaccount=` on v1).
    if cgroups.layout == "v2":
        return any(Path("/sys/fs/cgroup").glob("*/memory.swap.max"))
    return Path(cgroups.file("memory", "/", "memory.memsw.limit_in_bytes") or "/none").exists()


def _page_size(kilobytes: int) -> str:
    """2048 to `2MB`, as CRI and the hugetlb controller write it."""
    units = ["KB", "MB", "GB"]
    value = kilobytes
    while value >= 1024 and len(units) > 1:
        value //= 1024
        units.pop(0)
    return f"{value}{units[0]}"


def apparmor(default: str) -> AppArmorFacts:
    """The profiles loaded now, none without AppArmor; `default` is for RuntimeDefault."""
    enabled = (read_text("/sys/module/apparmor/parameters/enabled") or "").strip() == "Y"
    loaded = read_text("/sys/kernel/security/apparmor/profiles") if enabled else None
    if loaded is None:
        return AppArmorFacts()
    # "name (enforce)": a name may hold spaces and brackets itself.
    names = frozenset(line.rpartition(" (")[0] for line in loaded.splitlines())
    return AppArmorFacts(names, default)


def device_node(path: str, shown: str | None = None) -> DeviceNode | None:
    """The node at this path (symlinks followed); None if it is not a device or fifo."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    # S_IFCHR, S_IFBLK, S_IFIFO (inode(7)).
    kind = {0o020000: "c", 0o060000: "b", 0o010000: "p"}.get(found.st_mode & 0o170000)
    if kind is None:
        return None
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    mode = found.st_mode & 0o777
    return DeviceNode(shown or path, kind, major, minor, mode, found.st_uid, found.st_gid)


def device_nodes(directory: str) -> tuple[DeviceNode, ...]:
    """All nodes below a directory, symlinks not followed; of another path the node itself."""
    if not os.path.isdir(directory):
        node = device_node(directory)
        return (node,) if node else ()
    nodes: list[DeviceNode] = []
    for entry in sorted(os.scandir(directory), key=lambda e: e.name):
        # /dev/disk/by-id and the like: the same nodes again, and loops.
        if entry.is_symlink():
            continue
        if entry.is_dir():
            nodes += device_nodes(entry.path)
        elif node := device_node(entry.path):
            nodes.append(node)
    return tuple(nodes)


def host_devices() -> tuple[DeviceNode, ...]:
    """Every device of the host, for privileged containers."""
    nodes: list[DeviceNode] = []
    for entry in sorted(os.scandir("/dev"), key=lambda e: e.name):
        if entry.name not in DEVICE_SKIP and not entry.is_symlink():
            nodes += device_nodes(entry.path)
    return tuple(nodes)
