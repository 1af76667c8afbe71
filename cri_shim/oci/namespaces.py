"""Which namespaces the container enters or gets, and the id mappings.

runtime-spec config-linux.md, "Namespaces" and "User namespace mappings". A kind that is not listed
is the host's; one with a path is entered, one without is made new.
"""

from berth.base.errors import FailedPrecondition
from cri_shim.model.container import ContainerSpec
from cri_shim.model.namespaces import IdMapping, NamespaceMode
from cri_shim.oci.facts import HOST, NEW, Facts, Json, Layout


def namespaces(spec: ContainerSpec, facts: Facts) -> list[Json]:
    """The OCI list; the mount namespace is always the container's own."""
    options, pod = spec.security.namespaces, facts.namespaces
    # Always its own: the container's root is made in it.
    found = [{"type": "mount"}]
    found += _entry("pid", _pid(options.pid, pod.pid))
    found += _entry("network", _of_pod("network", options.network, pod.network))
    found += _entry("ipc", _of_pod("IPC", options.ipc, pod.ipc))
    found += _entry("uts", pod.uts)
    if private_cgroup(spec, facts):
        found += _entry("cgroup", NEW)
    # The others must belong to this user namespace, or the container has no rights over them: the
    # pod's were made inside it (user_namespaces(7)).
    if options.user is not None:
        found += _entry("user", _needed("user", pod.user))
    return found


def id_mappings(spec: ContainerSpec) -> Json:
    """`uidMappings` and `gidMappings`, or nothing.

    They stand there beside the path of the namespace too: OCI runtimes want to know which host id
    is root.
    """
    user = spec.security.namespaces.user
    if user is None:
        return {}
    return {"uidMappings": mappings(user.uids), "gidMappings": mappings(user.gids)}


def mappings(found: tuple[IdMapping, ...]) -> list[Json]:
    """The OCI form of id mappings."""
    return [{"containerID": m.container_id, "hostID": m.host_id, "size": m.length} for m in found]


def hostname(facts: Facts) -> str:
    """Only an own new UTS namespace is still without its name; elsewhere it is not ours to set."""
    # sethostname(2) in a namespace that is shared would rename the pod, or the host.
    return facts.hostname if facts.namespaces.uts == NEW else ""


def private_cgroup(spec: ContainerSpec, facts: Facts) -> bool:
    """On cgroup v2 all but privileged containers see their own cgroup as the root.

    A privileged one in a user namespace has one as well: the kernel mounts cgroup2 there only for
    the owner of the cgroup namespace.
    """
    if facts.cgroup.layout is not Layout.V2:
        return False
    return not spec.security.privileged or spec.security.namespaces.user is not None


def _pid(mode: NamespaceMode, path: str) -> str:
    match mode:
        case NamespaceMode.CONTAINER:
            return NEW
        case NamespaceMode.NODE:
            return HOST
        case NamespaceMode.POD | NamespaceMode.TARGET:
            return _needed("PID", path)


def _of_pod(kind: str, mode: NamespaceMode, path: str) -> str:
    return HOST if mode is NamespaceMode.NODE else _needed(kind, path)


def _needed(kind: str, path: str) -> str:
    if path == HOST:
        raise FailedPrecondition(
            f"the container asks for the pod's {kind} namespace, but the pod has none of its own: "
            "use the mode that the pod has"
        )
    return path


def _entry(kind: str, where: str) -> list[Json]:
    match where:
        case "":
            return []
        case "new":
            return [{"type": kind}]
        case _:
            return [{"type": kind, "path": where}]
