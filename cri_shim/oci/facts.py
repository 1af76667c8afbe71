"""What the document needs to know of host, pod and image, as plain values.

`container.facts` gathers them. A fact that is missing where the spec needs it raises
FailedPrecondition.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias

from berth.cdi.edits import Edits
from cri_shim.model.container import DeviceSpec, MountSpec, ProcessUser
from cri_shim.model.image import ImageConfig
from cri_shim.model.resources import EMPTY

Json: TypeAlias = dict[str, Any]
"""A JSON object of the runtime specification."""

HOST = ""
"""Of a namespace: the container stays in the host's."""
NEW = "new"
"""Of a namespace: the OCI runtime makes one for this container alone."""


class Layout(Enum):
    """How cgroups are mounted; hybrid hosts count as V1 (their controllers are there)."""

    V1 = "v1"
    V2 = "v2"


@dataclass(frozen=True, slots=True)
class CgroupFacts:
    """`controllers` are those that can limit; `swap` says that swap is accounted.

    `hugepage_sizes` are as CRI writes them (`2MB`). `mount_options` are those of the host's
    cgroup2 mount that a second mount in the host's cgroup namespace must repeat, for they belong
    to the superblock (`nsdelegate`, `memory_recursiveprot`). `writable` gives unprivileged
    containers their own cgroup subtree writable (cgroup v2 only, KEP-5474).
    """

    layout: Layout = Layout.V2
    controllers: frozenset[str] = frozenset({"cpu", "cpuset", "memory", "pids", "hugetlb"})
    swap: bool = True
    hugepage_sizes: frozenset[str] = frozenset()
    mount_options: tuple[str, ...] = ()
    writable: bool = False


@dataclass(frozen=True, slots=True)
class PodNamespaces:
    """Paths of the pod's pinned namespaces, or HOST, or NEW.

    `pid` is the path of the pod's reaping init (mode POD) or of the target container (mode TARGET);
    the other two modes do not look at it. `user` is looked at only if the spec asks for one.
    """

    network: str = HOST
    ipc: str = HOST
    uts: str = HOST
    pid: str = HOST
    user: str = HOST


@dataclass(frozen=True, slots=True)
class PodFiles:
    """Host paths bound into every container of the pod; empty means: nothing to bind.

    An empty `shm` gives the container a 64 MiB tmpfs of its own.
    """

    hosts: str = ""
    resolv_conf: str = ""
    hostname: str = ""
    shm: str = ""


@dataclass(frozen=True, slots=True)
class RuntimeFeatures:
    """What the OCI runtime of this handler can do beyond runtime-spec 1.0."""

    recursive_readonly: bool = False
    idmapped_mounts: bool = False
    net_devices: bool = False


@dataclass(frozen=True, slots=True)
class ResolvedMount:
    """One mount of the spec whose source was found.

    `source` is the resolved host path (for an image: where it is mounted, sub path included).
    `flags` are those of `ro nosuid nodev noexec` that the source's mount has now, `propagation`
    is that mount's: `private`, `slave` or `shared`.
    """

    spec: MountSpec
    source: str
    flags: frozenset[str] = frozenset()
    propagation: str = "private"


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node of the host: kind `c`, `b` or `p`, mode the permission bits alone."""

    path: str
    kind: str
    major: int = 0
    minor: int = 0
    mode: int = 0o660
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True)
class ResolvedDevice:
    """One device of the spec and its nodes: itself, or all below it where it is a directory.

    A node's `path` begins with `spec.host_path`, as asked for (symlinks not resolved).
    """

    spec: DeviceSpec
    nodes: tuple[DeviceNode, ...]


@dataclass(frozen=True, slots=True)
class SeccompFacts:
    """`localhost` is the content of the profile file that the spec names, if it names one."""

    enabled: bool = True
    localhost: bytes | None = None


@dataclass(frozen=True, slots=True)
class AppArmorFacts:
    """`loaded` None means: no AppArmor on this host. `default` is the RuntimeDefault profile."""

    loaded: frozenset[str] | None = None
    default: str = ""


@dataclass(frozen=True, slots=True)
class SELinuxFacts:
    """The pod's labels: of its processes and of its files (`user:role:type:level`)."""

    process: str
    file: str


@dataclass(frozen=True, slots=True)
class Rlimit:
    """`name` is `RLIMIT_NOFILE` and the like."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything `document.compose` may know besides the spec.

    rootfs           host path of the prepared root
    capabilities     what the daemon's bounding set and the kernel allow (`CAP_…`)
    known_capabilities  what the kernel knows; a user namespace gives them all back
    cgroups_path     OCI cgroupsPath (`/parent/id`, or `slice:prefix:id` for systemd)
    user             see `users.resolve`
    architecture     as uname says (`x86_64`); kernel: major, minor
    oom_floor        the lowest oom_score_adj that the daemon may give (-1000 with SYS_RESOURCE)
    rlimits          limits to set; own_rlimits: the daemon's hard limits, which bound them where
                     `raise_rlimits` is false
    cdi              see `cdi.catalog.Catalog.resolve`
    cdi_nodes        host path to node, for all of `Edits.unknown`
    annotations      the daemon's own, always written; of the pod's and the container's only those
                     that `allowed_annotations` names (a trailing `*` matches any ending)
    """

    rootfs: str
    image: ImageConfig
    user: ProcessUser
    cgroups_path: str
    capabilities: frozenset[str]
    known_capabilities: frozenset[str]
    cgroup: CgroupFacts = CgroupFacts()
    namespaces: PodNamespaces = PodNamespaces()
    hostname: str = ""
    files: PodFiles = PodFiles()
    mounts: tuple[ResolvedMount, ...] = ()
    devices: tuple[ResolvedDevice, ...] = ()
    host_devices: tuple[DeviceNode, ...] = ()
    features: RuntimeFeatures = RuntimeFeatures()
    architecture: str = "x86_64"
    kernel: tuple[int, int] = (6, 1)
    seccomp: SeccompFacts = SeccompFacts()
    apparmor: AppArmorFacts = AppArmorFacts()
    selinux: SELinuxFacts | None = None
    oom_floor: int = -1000
    rlimits: tuple[Rlimit, ...] = ()
    own_rlimits: Mapping[str, int] = field(default_factory=dict)
    raise_rlimits: bool = True
    cdi: Edits = Edits()
    cdi_nodes: Mapping[str, DeviceNode] = field(default_factory=dict)
    allowed_annotations: tuple[str, ...] = ()
    pod_annotations: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    annotations: Mapping[str, str] = field(default_factory=lambda: EMPTY)
