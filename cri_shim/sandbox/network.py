"""A pod's network: what `network` is asked for it, and the result in the pod's record."""

import dataclasses
import os

from cri_shim.context import Context
from cri_shim.model.namespaces import NamespaceMode
from cri_shim.model.sandbox import Sandbox
from cri_shim.network.pod import PodNet


def pod_net(sandbox: Sandbox) -> PodNet:
    meta = sandbox.spec.metadata
    return PodNet(
        sandbox_id=sandbox.id,
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        netns=sandbox.netns,
        ports=sandbox.spec.ports,
        annotations=sandbox.spec.annotations,
        labels=sandbox.spec.labels,
        cgroup_parent=sandbox.cgroup,
        dns=sandbox.spec.dns,
        hostname=sandbox.spec.hostname,
    )


def uses_host_network(sandbox: Sandbox) -> bool:
    return sandbox.spec.security.namespaces.network is NamespaceMode.NODE


async def attach(ctx: Context, sandbox: Sandbox) -> None:
    """Addresses for the pod, into its record."""
    if uses_host_network(sandbox):
        return
    # Killed here, the network has addresses that are in no record. Recovery undoes this pod first,
    # and then gives back the addresses of every pod that has no record.
    attachment = await ctx.network.attach(pod_net(sandbox))
    ctx.store.update_sandbox(
        sandbox.id,
        lambda now: dataclasses.replace(now, ips=attachment.ips, network=attachment.record),
    )


async def detach(ctx: Context, sandbox: Sandbox) -> None:
    """Give the addresses back. Idempotent; works without the namespace."""
    if not uses_host_network(sandbox):
        await ctx.network.detach(pod_net(sandbox), sandbox.network)


def host_name(sandbox: Sandbox) -> str:
    """The name processes of the pod see: the host's where they share its network."""
    if uses_host_network(sandbox) or not sandbox.spec.hostname:
        return os.uname().nodename
    return sandbox.spec.hostname
