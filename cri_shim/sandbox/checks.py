"""Rules between the fields of a pod, and between a pod and its OCI runtime."""

from berth.base.errors import InvalidArgument
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.model.sandbox import SandboxSpec
from cri_shim.oci.labels import check_label
from cri_shim.runtime.handler import Handler

WHERE = "config.linux.security_context"

IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def check(spec: SandboxSpec, handler: Handler) -> None:
    """Refuse a pod that this node cannot run, before anything is made."""
    options = spec.security.namespaces
    # TARGET names a container, and none is there before its pod.
    if options.pid is NamespaceMode.TARGET:
        raise InvalidArgument(f"{WHERE}.namespace_options.pid is TARGET: a pod has no target")
    if options.user is not None and not handler.features.user_namespaces:
        raise InvalidArgument(
            f"{WHERE}.namespace_options.userns_options: handler {handler.name!r} "
            f"({handler.binary}) cannot map ids of mounts here, which user namespaces need: "
            "use a handler with crun, or runc 1.2 and newer, Linux 5.19 and newer, and a "
            "filesystem such as ext4 or xfs for the daemon's root directory"
        )
    check_label(spec.security.selinux)
    check_sysctls(spec)


def check_sysctls(spec: SandboxSpec) -> None:
    """A sysctl must belong to a namespace that the pod has of its own (KEP-34)."""
    options = spec.security.namespaces
    # Which sysctls are per namespace is fixed in the kernel and not to be read from it; these are
    # the prefixes that Kubernetes allows. Any other would be set for the whole host.
    for key in spec.sysctls:
        name = key.replace("/", ".")  # sysctl(8) takes both, and CRI passes on what the user wrote
        if name.startswith("net."):
            own, needed = options.network is NamespaceMode.POD, "network"
        elif name.startswith(IPC_SYSCTLS):
            own, needed = options.ipc is NamespaceMode.POD, "IPC"
        elif name in ("kernel.hostname", "kernel.domainname"):
            own, needed = options.network is NamespaceMode.POD, "UTS"
        else:
            raise InvalidArgument(
                f"config.linux.sysctls {key} is not namespaced: it would change the whole host"
            )
        if not own:
            raise InvalidArgument(
                f"config.linux.sysctls {key} needs a {needed} namespace of the pod, "
                "which shares the host's"
            )
