"""The mounts that every container gets: the kernel's filesystems and the pod's files.

runtime-spec config-linux.md, "Default Filesystems", and what all runtimes of the field add to them.
A filesystem of the kernel can be mounted in a user namespace only by the owner of the namespace
that it shows (PID for proc, IPC for mqueue, network for sysfs, cgroup for cgroup2). Where the pod
shares that namespace with the host the host's own mount is bound instead.
"""

from cri_shim.model.container import ContainerSpec
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.oci.facts import Facts, Json, Layout
from cri_shim.oci.namespaces import private_cgroup
from cri_shim.oci.users import mapped

_TTY_GROUP = 5  # on every distribution, and in the C library's grantpt
_STRICT = ["nosuid", "noexec", "nodev"]


def default_mounts(spec: ContainerSpec, facts: Facts) -> list[Json]:
    """In the order of the runtime specification's examples."""
    return [
        _proc(spec),
        # No nodev here: the runtime makes the device nodes in it. 64 MiB, as all runtimes have it.
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", _pts_options(spec)),
        _shm(spec, facts),
        _mqueue(spec),
        _sys(spec, facts),
        _cgroup(spec, facts),
        *_pod_files(spec, facts),
    ]


def _mount(place: str, kind: str, source: str, options: list[str]) -> Json:
    return {"destination": place, "type": kind, "source": source, "options": options}


def _rebind(place: str, options: list[str]) -> Json:
    # rslave: mounts that come later on the host are seen, none of the container's go back.
    return _mount(place, "bind", place, ["rbind", "rslave", *options])


def _proc(spec: ContainerSpec) -> Json:
    """proc belongs to a PID namespace: a user namespace cannot mount that of the host."""
    options = spec.security.namespaces
    if options.user is not None and options.pid is NamespaceMode.NODE:
        return _rebind("/proc", _STRICT)
    return _mount("/proc", "proc", "proc", _STRICT)


def _pts_options(spec: ContainerSpec) -> list[str]:
    # newinstance: the container's own terminals, not the host's (since Linux 4.7 always so).
    options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    # A gid that the namespace does not map makes the mount fail with EINVAL; without the option
    # terminals belong to the group of the process, and wall(1) cannot write to them.
    user = spec.security.namespaces.user
    if user is None or mapped(_TTY_GROUP, user.gids):
        options.append(f"gid={_TTY_GROUP}")
    return options


def _shm(spec: ContainerSpec, facts: Facts) -> Json:
    # One /dev/shm for all containers of a pod, as they share the IPC namespace.
    if facts.files.shm:
        return _mount("/dev/shm", "bind", facts.files.shm, ["rbind", "rprivate", "rw"])
    return _mount("/dev/shm", "tmpfs", "shm", [*_STRICT, "mode=1777", "size=65536k"])


def _mqueue(spec: ContainerSpec) -> Json:
    """mqueue belongs to an IPC namespace, as proc to a PID namespace."""
    options = spec.security.namespaces
    if options.user is not None and options.ipc is NamespaceMode.NODE:
        return _rebind("/dev/mqueue", _STRICT)
    return _mount("/dev/mqueue", "mqueue", "mqueue", _STRICT)


def _sys(spec: ContainerSpec, facts: Facts) -> Json:
    """sysfs belongs to a network namespace; the host's is bound, and read-only all the way down."""
    options = spec.security.namespaces
    if options.user is not None and options.network is NamespaceMode.NODE:
        return _rebind("/sys", [*_STRICT, "rro" if facts.features.recursive_readonly else "ro"])
    # Much of sysfs changes the host, whatever the network namespace it is seen from.
    access = "rw" if spec.security.privileged else "ro"
    return _mount("/sys", "sysfs", "sysfs", [*_STRICT, access])


def _cgroup(spec: ContainerSpec, facts: Facts) -> Json:
    """In the host's namespace its cgroup2 options are repeated, or the mount would drop them."""
    on_v2 = facts.cgroup.layout is Layout.V2
    writable = spec.security.privileged or (on_v2 and facts.cgroup.writable)
    # Type cgroup for both layouts: the OCI runtime mounts cgroup2 where the host has it.
    options = [*_STRICT, "relatime", "rw" if writable else "ro"]
    if on_v2 and not private_cgroup(spec, facts):
        options += facts.cgroup.mount_options
    return _mount("/sys/fs/cgroup", "cgroup", "cgroup", options)


def _pod_files(spec: ContainerSpec, facts: Facts) -> list[Json]:
    """With a read-only root these are read-only too: they are the pod's, and shared.

    Bound over the image's own files, which the kubelet's DNS settings must win over.
    """
    access = "ro" if spec.security.readonly_rootfs else "rw"
    files = (
        ("/etc/hosts", facts.files.hosts),
        ("/etc/hostname", facts.files.hostname),
        ("/etc/resolv.conf", facts.files.resolv_conf),
    )
    return [
        _mount(place, "bind", source, ["rbind", "rprivate", access])
        for place, source in files
        if source
    ]
