"""Rules between a container and its pod."""

import dataclasses

from berth.base.errors import InvalidArgument, Unimplemented
from cri_shim.model.container import ContainerSpec
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.model.sandbox import Sandbox
from cri_shim.runtime.handler import Handler

WHERE = "config.linux.security_context"


def in_pod(spec: ContainerSpec, sandbox: Sandbox, handler: Handler) -> ContainerSpec:
    """The spec with the pod's network, IPC and user namespaces: those are never another's.

    Refuses what this pod cannot hold, before anything is made.
    """
    check(spec, sandbox, handler)
    theirs = sandbox.spec.security.namespaces
    namespaces = dataclasses.replace(
        spec.security.namespaces, network=theirs.network, ipc=theirs.ipc, user=theirs.user
    )
    return dataclasses.replace(
        spec, security=dataclasses.replace(spec.security, namespaces=namespaces)
    )


def check(spec: ContainerSpec, sandbox: Sandbox, handler: Handler) -> None:
    """POD means what the pod has, be it the host's; NODE in a pod with its own is refused."""
    pod = sandbox.spec.security
    if spec.security.privileged and not pod.privileged:
        raise InvalidArgument(
            f"{WHERE}.privileged: the pod is not privileged, so no container of it can be"
        )
    own, theirs = spec.security.namespaces, pod.namespaces
    for name in ("network", "ipc"):
        mine, pods = getattr(own, name), getattr(theirs, name)
        if mine is not pods and mine is not NamespaceMode.POD:
            raise InvalidArgument(
                f"{WHERE}.namespace_options.{name} is {mine.name}, the pod's is {pods.name}: "
                "use POD"
            )
    if own.user is not None and own.user != theirs.user:
        raise InvalidArgument(f"{WHERE}.namespace_options.userns_options differ from the pod's")
    if own.pid is NamespaceMode.POD and theirs.pid is not NamespaceMode.POD:
        raise InvalidArgument(
            f"{WHERE}.namespace_options.pid is POD, but the pod has {theirs.pid.name}"
        )
    if own.pid is NamespaceMode.TARGET and not own.target_id:
        raise InvalidArgument(f"{WHERE}.namespace_options.target_id is empty: name a container")
    if any(m.recursive_readonly for m in spec.mounts) and not handler.features.recursive_readonly:
        raise Unimplemented(
            f"RROUnsupported: handler {handler.name!r} ({handler.binary}) cannot mount read-only "
            "recursively"
        )
