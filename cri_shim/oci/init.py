"""The document of a pod's reaping init: the smallest container there is.

Only for pods that share a PID namespace. PID 1 of a namespace takes all signals that it has no
handler for as ignored, gets all orphans, and ends every process of the namespace when it ends
(pid_namespaces(7)): a container's own program in that place would be hard to stop and would take
its neighbours with it.
"""

from collections.abc import Mapping
from typing import Any

from cri_shim.model.namespaces import UserNamespace
from cri_shim.oci.namespaces import mappings

KINDS = {"net": "network", "ipc": "ipc", "uts": "uts"}

_PROC = {"destination": "/proc", "type": "proc", "source": "proc"}
_DEV = {
    "destination": "/dev",
    "type": "tmpfs",
    "source": "tmpfs",
    "options": ["nosuid", "noexec", "mode=755", "size=64k"],
}
"""Its own: an OCI runtime puts device nodes there, and the root is that of every pod's init."""


def init_document(
    root: str,
    namespaces: Mapping[str, str],
    user: tuple[str, UserNamespace] | None,
    cgroups_path: str,
) -> dict[str, Any]:
    """`namespaces`: paths of the pod's own by kind (net, ipc, uts); the PID one is new.

    It has no capability, a read-only root, and runs `/init -P`: reap, and wait for SIGTERM.
    """
    # Its PID namespace is new; the daemon pins it for the containers, which enter it by path.
    spaces: list[dict[str, str]] = [{"type": "pid"}, {"type": "mount"}]
    spaces += [{"type": KINDS[kind], "path": path} for kind, path in namespaces.items()]
    linux: dict[str, Any] = {"cgroupsPath": cgroups_path, "namespaces": spaces}
    if user is not None:
        spaces.append({"type": "user", "path": user[0]})
        linux["uidMappings"] = mappings(user[1].uids)
        linux["gidMappings"] = mappings(user[1].gids)
    return {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/init", "-P"],
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "noNewPrivileges": True,
        },
        "root": {"path": root, "readonly": True},
        "mounts": [_PROC, _DEV],
        "linux": linux,
    }
