"""The namespaces a pod has of its own, pinned by bind mounts: no process keeps them.

A namespace belongs to the user namespace in which it was made, and only root of that one may
configure it (user_namespaces(7)). So a pod's user namespace is made first, and the others inside
it: else root of the pod could neither change its own routes nor mount its own mqueue.
"""

import asyncio
import dataclasses
import errno
from pathlib import Path

from berth.base.errors import FailedPrecondition, InvalidArgument, RuntimeFailure
from berth.linux import namespaces
from cri_shim.context import Context
from cri_shim.model.namespaces import NamespaceMode, NamespaceOptions, UserNamespace
from cri_shim.model.sandbox import Sandbox, SandboxSpec
from cri_shim.sandbox.network import host_name


def _write_sysctls(spec: SandboxSpec) -> None:
    namespaces.write_sysctls(default_sysctls(spec.security.namespaces))
    try:
        namespaces.write_sysctls(spec.sysctls)
    except OSError as error:
        # What the kernel says of a value or a name is the user's to mend; EACCES and the like, of
        # the first default on a read-only /proc/sys say, is the host's.
        if error.errno not in (errno.EINVAL, errno.ERANGE, errno.ENOENT):
            raise
        raise InvalidArgument(f"config.linux.sysctls: {error.strerror}") from error


def default_sysctls(options: NamespaceOptions) -> dict[str, str]:
    """In its own network a pod may use low ports and ping without being root, as in containerd.

    Groups above those of its user namespace cannot be named there.
    """
    if options.network is not NamespaceMode.POD:
        return {}
    found = {"net.ipv4.ip_unprivileged_port_start": "0"}
    if options.user is None:
        found["net.ipv4.ping_group_range"] = "0 2147483647"
    return found


def own_kinds(options: NamespaceOptions) -> list[str]:
    """Kinds that are the pod's own and pinned. Processes share the pod's UTS with its network."""
    # CRI has no option for UTS. A host name of its own with the host's network would lie about
    # where a connection comes from, so UTS goes with the network, as in the other runtimes.
    kinds = ["net", "uts"] if options.network is NamespaceMode.POD else []
    return kinds + (["ipc"] if options.ipc is NamespaceMode.POD else [])


async def make_namespaces(ctx: Context, sandbox: Sandbox) -> None:
    """Pin the pod's own namespaces; the record names the one of its network."""
    spec = sandbox.spec
    if spec.security.namespaces.user:
        _check_passable(sandbox, ctx.directories.state, ctx.images.mountpoint)
    kinds = own_kinds(spec.security.namespaces)
    directory = ctx.directories.namespaces(sandbox.id)

    def inside() -> None:
        # On a thread that is in them: /proc/sys shows the namespaces of the thread that looks.
        if "net" in kinds:
            namespaces.loopback_up()
            namespaces.set_hostname(host_name(sandbox))
        _write_sysctls(spec)

    def pin() -> None:
        # `make_files` runs beside this and makes the same directory, hence `exist_ok`.
        ctx.directories.sandbox(sandbox.id).mkdir(parents=True, exist_ok=True, mode=0o711)
        directory.mkdir(mode=0o700)
        user = _pin_user(spec.security.namespaces.user, directory)
        if kinds:
            namespaces.pin(kinds, directory, inside, user)

    try:
        await asyncio.to_thread(pin)
    except OSError as error:
        raise RuntimeFailure(
            f"pod {sandbox.name}: making its namespaces ({', '.join(kinds)}): {error}"
        ) from error
    if "net" in kinds:
        ctx.store.update_sandbox(
            sandbox.id, lambda now: dataclasses.replace(now, netns=str(directory / "net"))
        )


def _check_passable(sandbox: Sandbox, *directories: Path) -> None:
    """Root of a user namespace is one of the others here, and has to reach its root directory."""
    # Here, by name: the OCI runtime would say "permission denied" of a root that root can see.
    for directory in directories:
        for path in (directory, *directory.parents):
            if not path.stat().st_mode & 0o001:
                raise FailedPrecondition(
                    f"pod {sandbox.name}: its user namespace cannot pass {path}: chmod o+x {path}"
                )


def _pin_user(user: UserNamespace | None, directory: Path) -> Path | None:
    return namespaces.pin_user(user.uids, user.gids, directory) if user else None


def user_namespace(ctx: Context, sandbox: Sandbox) -> Path | None:
    """Where the pod's own user namespace is pinned; None where it uses the host's."""
    own = sandbox.spec.security.namespaces.user
    return ctx.directories.namespaces(sandbox.id) / "user" if own else None
