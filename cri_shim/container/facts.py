"""Gather what the document of one container needs to know; every file it reads is read here."""

import errno
import functools
import logging
import os
import stat
from pathlib import Path

from berth.base.errors import InvalidArgument
from berth.cdi.catalog import Catalog
from berth.cdi.edits import Edits
from berth.cdi.names import requested
from berth.linux import files
from cri_shim.container.target import target
from cri_shim.context import Context
from cri_shim.model.container import Container, ContainerSpec, ProcessUser
from cri_shim.model.image import Image
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.model.sandbox import Sandbox
from cri_shim.model.security import Profile, ProfileKind
from cri_shim.oci import users
from cri_shim.oci.facts import (
    HOST,
    DeviceNode,
    Facts,
    PodFiles,
    PodNamespaces,
    ResolvedDevice,
    ResolvedMount,
    RuntimeFeatures,
    SeccompFacts,
)
from cri_shim.runtime import host_facts
from cri_shim.sandbox.cgroup import container_cgroup
from cri_shim.sandbox.files import shm_source
from cri_shim.sandbox.init import pid_namespace
from cri_shim.sandbox.labels import pod_labels
from cri_shim.sandbox.namespaces import own_kinds, user_namespace
from cri_shim.sandbox.network import host_name

log = logging.getLogger(__name__)

LIMIT = 16 << 20
"""Bytes read at most of a container's passwd or group file, or of a profile."""


def gather(
    ctx: Context,
    sandbox: Sandbox,
    container: Container,
    image: Image,
    rootfs: str,
    mounted: tuple[ResolvedMount, ...],
) -> Facts:
    """Blocks: call it in a thread. Errors name the field of the container's config."""
    spec = container.spec
    host = ctx.host
    # The host's devices as they are now: a disk that was plugged in later belongs to it too.
    privileged = spec.security.privileged
    # Read anew each time: device plugins write their specifications after the daemon's start.
    edits = _cdi_edits(spec, ctx.settings.cdi_dirs)
    # Refusing would refuse every guaranteed pod (-997) where the daemon runs in a user namespace or
    # without CAP_SYS_RESOURCE; the OCI runtime would fail on the write.
    if spec.resources.oom_score_adj < host.oom_floor:
        _tell_of_oom_floor(host.oom_floor)
    return Facts(
        rootfs=rootfs,
        image=image.config,
        user=process_user(spec, image, rootfs),
        cgroups_path=container_cgroup(ctx, sandbox, container.id)[1],
        capabilities=host.capabilities,
        known_capabilities=host.known_capabilities,
        cgroup=host.cgroup,
        namespaces=_namespaces(ctx, sandbox, container),
        hostname=host_name(sandbox),
        files=_pod_files(ctx, sandbox),
        mounts=mounted,
        devices=tuple(_device(d.host_path, i, spec) for i, d in enumerate(spec.devices)),
        host_devices=host_facts.host_devices() if privileged else (),
        features=_features(ctx, container),
        architecture=host.architecture,
        kernel=host.kernel,
        seccomp=SeccompFacts(host.seccomp, _localhost_profile(spec.security.seccomp)),
        apparmor=host_facts.apparmor(ctx.settings.apparmor_profile),
        selinux=pod_labels(host.selinux, sandbox),
        oom_floor=host.oom_floor,
        raise_rlimits=host.may_raise,
        cdi=edits,
        cdi_nodes=_cdi_nodes(edits),
        pod_annotations=sandbox.spec.annotations,
    )


@functools.cache
def _tell_of_oom_floor(floor: int) -> None:
    """Once: every container of a kubelet asks for such a score."""
    log.warning(
        "OOM scores below %d are raised to it: cri-shim has no CAP_SYS_RESOURCE to go lower", floor
    )


def process_user(spec: ContainerSpec, image: Image, rootfs: str) -> ProcessUser:
    """The user by the container's own passwd and group files, never those of the host."""
    # Beneath the root only: /etc/passwd of an image may be a link to the host's, or to a FIFO that
    # nobody writes to.
    root = os.open(rootfs, os.O_PATH | os.O_DIRECTORY)
    try:
        passwd, group = _read(root, "etc/passwd"), _read(root, "etc/group")
    finally:
        os.close(root)
    user = users.resolve(spec.security, image.config.user, passwd, group)
    users.check_mapped(user, spec.security.namespaces.user)
    return user


def _read(root: int, path: str) -> bytes:
    try:
        return _content(files.open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return b""


def _namespaces(ctx: Context, sandbox: Sandbox, container: Container) -> PodNamespaces:
    directory = ctx.directories.namespaces(sandbox.id)
    options = sandbox.spec.security.namespaces
    own = {kind: str(directory / kind) for kind in own_kinds(options)}
    return PodNamespaces(
        network=own.get("net", HOST),
        ipc=own.get("ipc", HOST),
        uts=own.get("uts", HOST),
        pid=_pid_namespace(ctx, sandbox, container),
        user=str(user_namespace(ctx, sandbox) or HOST),
    )


def _pid_namespace(ctx: Context, sandbox: Sandbox, container: Container) -> str:
    # A PID namespace cannot be pinned before it has a process, so these go by number; see `held`.
    joined = target(ctx, container)
    if joined is not None:
        return f"/proc/{joined.pid}/ns/pid"
    if container.spec.security.namespaces.pid is NamespaceMode.POD:
        return pid_namespace(sandbox)
    return HOST


def _pod_files(ctx: Context, sandbox: Sandbox) -> PodFiles:
    return PodFiles(
        resolv_conf=str(ctx.directories.resolv_conf(sandbox.id)),
        hostname=str(ctx.directories.hostname(sandbox.id)),
        shm=shm_source(ctx, sandbox),
    )


def _features(ctx: Context, container: Container) -> RuntimeFeatures:
    features = ctx.handlers.get(container.handler).features
    return RuntimeFeatures(
        recursive_readonly=features.recursive_readonly,
        idmapped_mounts=features.user_namespaces,
    )


def _device(path: str, index: int, spec: ContainerSpec) -> ResolvedDevice:
    nodes = host_facts.device_nodes(path)
    if not nodes:
        raise InvalidArgument(
            f"config.devices[{index}].host_path {path!r} is not a device, nor a directory with one"
        )
    return ResolvedDevice(spec.devices[index], nodes)


def _localhost_profile(profile: Profile | None) -> bytes | None:
    if profile is None or profile.kind is not ProfileKind.LOCALHOST:
        return None
    # kubelet makes it absolute, below its own directory for profiles.
    if not profile.ref.startswith("/"):
        raise InvalidArgument(f"seccomp profile {profile.ref!r} is not an absolute path")
    try:
        return _content(os.open(profile.ref, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except FileNotFoundError:
        raise InvalidArgument(
            f"seccomp profile {profile.ref!r} does not exist on this node"
        ) from None
    except OSError as error:
        raise InvalidArgument(f"seccomp profile {profile.ref!r}: {error.strerror}") from error


def _content(fd: int) -> bytes:
    """The file's, which is closed; OSError for what may never end: directory, pipe, device."""
    try:
        # O_NONBLOCK has opened a FIFO without its writer; reading it would still be wrong.
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a file")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(LIMIT)
    finally:
        os.close(fd)


def _cdi_edits(spec: ContainerSpec, directories: tuple[str, ...]) -> Edits:
    """What the CDI devices that the container names change; the directories are read anew."""
    names = requested(spec.cdi_devices, spec.annotations)
    if not names:
        return Edits()
    # By name, since of two specifications of one device in a directory the order must be the same
    # on each start; a later directory wins over an earlier one.
    documents = [
        (entry.path, files.read_bytes(entry.path) or b"")
        for directory in map(Path, directories)
        if directory.is_dir()
        for entry in sorted(os.scandir(directory), key=lambda e: e.name)
        if entry.name.endswith((".json", ".yaml", ".yml"))
    ]
    edits = Catalog.build(directories, documents).resolve(names)
    # Here, because the OCI runtime would say "no such file" and not which device wanted it: after
    # an upgrade of a driver its old specification names libraries that have gone.
    for mount in edits.mounts:
        if mount.type in ("", "bind") and not os.path.exists(mount.host_path):
            raise InvalidArgument(
                f"CDI devices {', '.join(map(str, names))}: {mount.host_path}, which they mount, "
                "is not on this host: make their specification anew"
            )
    return edits


def _cdi_nodes(edits: Edits) -> dict[str, DeviceNode]:
    found = {path: host_facts.device_node(path) for path in edits.unknown}
    return {path: node for path, node in found.items() if node is not None}
