"""SELinux labels of a pod: one level for all of it, which no other pod on this node has.

Nothing is labelled on a host without SELinux, nor for a privileged pod.
"""

import dataclasses
import secrets
from collections.abc import Callable, Iterable

from berth.base.errors import InvalidArgument, ResourceExhausted
from berth.linux import selinux
from berth.linux.selinux import Contexts
from cri_shim.model.container import ContainerSpec
from cri_shim.model.sandbox import Sandbox, SandboxSpec
from cri_shim.model.security import SELinuxLabel
from cri_shim.oci.facts import Facts, ResolvedMount, SELinuxFacts
from cri_shim.oci.labels import merged, mount_label

CATEGORIES = 1024
"""c0 to c1023, as every policy for containers has them."""
PAIRS = CATEGORIES * (CATEGORIES - 1) // 2


def choose_level(
    host: Contexts | None,
    spec: SandboxSpec,
    others: Iterable[Sandbox],
    draw: Callable[[int], int] = secrets.randbelow,
) -> str:
    """The level that the pod asks for, or a pair of categories that none of `others` has.

    `draw` returns a number below its argument. Empty where the policy has no levels.
    """
    if host is None or spec.security.privileged:
        return ""
    # Pods that ask for one level share volumes by it on purpose.
    if spec.security.selinux.level:
        return spec.security.selinux.level
    sensitivity = (host.process.split(":", 3) + [""] * 4)[3].split("-")[0].split(":")[0]
    if not sensitivity:
        return ""
    taken = {_categories(sandbox.selinux_level) for sandbox in others}
    # A random start, then one after the other: two pods that are made at once rarely meet, and the
    # last free pair is still found. Half a million pairs make the walk short.
    first = draw(PAIRS)
    for number in range(first, first + PAIRS):
        low, high = _pair(number % PAIRS)
        if frozenset({f"c{low}", f"c{high}"}) not in taken:
            return f"{sensitivity}:c{low},c{high}"
    raise ResourceExhausted("all SELinux levels of this node are in use: remove pods")


def _categories(level: str) -> frozenset[str]:
    return frozenset(level.partition(":")[2].split(","))


def _pair(number: int) -> tuple[int, int]:
    """The pairs low < high, counted from 0 to PAIRS - 1.

    Row r of the rectangle has what starts with r and, folded in, what starts with its mirror.
    """
    row, column = divmod(number, CATEGORIES - 1)
    if column >= row:
        return row, column + 1
    low = CATEGORIES - 1 - row
    return low, low + 1 + column


def pod_labels(host: Contexts | None, sandbox: Sandbox) -> SELinuxFacts | None:
    """The pod's options over the host's contexts, at the pod's level."""
    security = sandbox.spec.security
    if host is None or security.privileged:
        return None
    level = sandbox.selinux_level or security.selinux.level
    process = merged(host.process, dataclasses.replace(security.selinux, level=level))
    return SELinuxFacts(process, merged(host.file, SELinuxLabel(level=level)))


def relabel(spec: ContainerSpec, facts: Facts, attribute: str = selinux.ATTRIBUTE) -> None:
    """Give the volumes that ask for it the container's label. Blocks: call it in a thread.

    InvalidArgument names the mount that cannot have it.
    """
    # In the daemon and not by the OCI runtime's own relabelling: the error names the volume, and a
    # volume that has the label already is not walked again.
    label = mount_label(spec.security, facts)
    if not label:
        return
    for index, mount in enumerate(facts.mounts):
        if mount.spec.relabel and not mount.spec.image:
            _relabel(mount, label, f"config.mounts[{index}]", attribute)


def _relabel(mount: ResolvedMount, label: str, where: str, attribute: str) -> None:
    try:
        selinux.set_label(mount.source, label, attribute)
    except OSError as error:
        raise InvalidArgument(
            f"{where}: host path {mount.source!r} cannot get the SELinux label {label}: "
            f"{error.strerror}: leave selinux_relabel out, or correct the volume"
        ) from error
