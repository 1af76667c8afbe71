"""Device nodes in the container and the device cgroup's rules.

runtime-spec config-linux.md, "Devices", "Default Devices" and "Allowed Device list".

Both lists go into the document. With the systemd driver the runtime writes the rules into the
unit, and every daemon-reload sets them anew from there: a device that only a hook had allowed
would be lost (NVIDIA/nvidia-container-toolkit#48).
"""

import posixpath
from collections.abc import Iterator

from berth.base.errors import InvalidArgument, Unimplemented
from berth.cdi.edits import CdiDevice
from cri_shim.model.container import ContainerSpec
from cri_shim.oci.facts import DeviceNode, Facts, Json, ResolvedDevice

_DEFAULT_RULES = (
    (1, 3),  # null
    (1, 5),  # zero
    (1, 7),  # full
    (1, 8),  # random
    (1, 9),  # urandom
    (5, 0),  # tty
    (5, 1),  # console
    (5, 2),  # ptmx
    (136, None),  # pts
)

_OF_RUNTIME = "null zero full random urandom tty console ptmx pts shm mqueue fd core"
_MADE_BY_RUNTIME = frozenset(f"/dev/{name}" for name in _OF_RUNTIME.split())


def nodes(spec: ContainerSpec, facts: Facts) -> list[Json]:
    """Nodes to make, by container path; a later one replaces an earlier at the same place."""
    found: dict[str, Json] = {}
    # The runtime makes its default devices itself, with the modes of the specification.
    if spec.security.privileged:
        for node in facts.host_devices:
            if node.path not in _MADE_BY_RUNTIME:
                found[node.path] = _node(node, node.path)
    # What is wanted more comes later and replaces: the host's, then the spec's, then CDI's.
    for device in facts.devices:
        for place, node in _placed(device):
            found[place] = _node(node, place)
    for edit in facts.cdi.devices:
        found[_clean(edit.path)] = _cdi_node(edit, facts)
    return list(found.values())


def rules(spec: ContainerSpec, facts: Facts) -> list[Json]:
    """Nothing but the usual pseudo devices, then what was asked for; privileged: everything."""
    if spec.security.privileged:
        # One rule and nothing else: with a list the kernel would walk it at each open.
        return [{"allow": True, "access": "rwm"}]
    # Later rules win: first nothing, then the exceptions.
    found: list[Json] = [{"allow": False, "access": "rwm"}]
    found += [_rule("c", major, minor, "rwm") for major, minor in _DEFAULT_RULES]
    for device in facts.devices:
        for _, node in _placed(device):
            # A FIFO has no device number, and the cgroup no rule for it.
            if node.kind != "p":
                found.append(_rule(node.kind, node.major, node.minor, device.spec.permissions))
    for edit in facts.cdi.devices:
        node = _cdi_host_node(edit, facts)
        if node.kind != "p":
            found.append(_rule(node.kind, node.major, node.minor, edit.permissions or "rwm"))
    return found


def net_devices(facts: Facts) -> Json:
    """CDI's network devices, by host name; Unimplemented where the OCI runtime has no such."""
    if facts.cdi.net_devices and not facts.features.net_devices:
        raise Unimplemented(
            "a CDI device brings network devices, which the OCI runtime of this handler cannot "
            "move: use a runtime of runtime-spec 1.3"
        )
    return {device.host_name: {"name": device.name} for device in facts.cdi.net_devices}


def _placed(device: ResolvedDevice) -> Iterator[tuple[str, DeviceNode]]:
    """Container path and node; a directory keeps the paths below it."""
    base = posixpath.normpath(device.spec.host_path)
    if not device.nodes:
        raise InvalidArgument(
            f"device {device.spec.host_path} is no device node and has none below it"
        )
    for node in device.nodes:
        below = posixpath.relpath(posixpath.normpath(node.path), base)
        yield _clean(posixpath.join(device.spec.container_path, below)), node


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _node(node: DeviceNode, place: str) -> Json:
    # Owner and mode of the host's node: a device of a group (video, kvm) stays that group's.
    found: Json = {"path": place, "type": node.kind, "fileMode": node.mode & 0o777}
    if node.kind != "p":
        found |= {"major": node.major, "minor": node.minor}
    return found | {"uid": node.uid, "gid": node.gid}


def _rule(kind: str, major: int, minor: int | None, access: str) -> Json:
    rule: Json = {"allow": True, "type": kind, "major": major, "access": access}
    return rule if minor is None else rule | {"minor": minor}


def _cdi_node(edit: CdiDevice, facts: Facts) -> Json:
    """What CDI leaves open is the host node's; an owner left open is the process's user."""
    node = _cdi_host_node(edit, facts)
    document = _node(node, _clean(edit.path))
    mode = node.mode if edit.file_mode is None else edit.file_mode
    # CDI leaves the owner open so that a container that is not root can use its device.
    uid, gid = facts.user.uid or node.uid, facts.user.gid or node.gid
    return document | {
        "fileMode": mode & 0o777,
        "uid": uid if edit.uid is None else edit.uid,
        "gid": gid if edit.gid is None else edit.gid,
    }


def _cdi_host_node(edit: CdiDevice, facts: Facts) -> DeviceNode:
    if edit.complete:
        return DeviceNode(edit.source, edit.kind, edit.major, edit.minor, mode=0o666)
    node = facts.cdi_nodes.get(edit.source)
    if node is None:
        raise InvalidArgument(f"CDI device node {edit.source} is not a device node of this host")
    if edit.kind and _plain(edit.kind) != node.kind:
        raise InvalidArgument(
            f"CDI device node {edit.source} is of type {node.kind} on this host, not {edit.kind}"
        )
    return node


def _plain(kind: str) -> str:
    # "u" is an unbuffered character device (mknod(1)): to the kernel the same as "c".
    return "c" if kind == "u" else kind
