"""The whole runtime-spec document of one container, and its bytes.

    config.md "Process"                        process.py: arguments, user, capabilities, limits
    config.md "Root", "Hostname", "Hooks"      here
    config.md "Annotations"                    here, by an allow list
    config.md "Mounts"                         mounts.py over default_mounts.py
    config-linux.md "Namespaces"               namespaces.py, with the id mappings
    config-linux.md "Devices", "Allowed Device list"    devices.py
    config-linux.md "Control groups"           resources.py
    config-linux.md "Seccomp"                  seccomp.py, seccomp_table.py, seccomp_file.py
    config-linux.md "Masked Paths", "Readonly Paths", "Rootfs Mount Propagation"    here
    AppArmor and SELinux, in process and linux labels.py

1.0.2 is written also where newer fields are used: a runtime may refuse a version that is newer than
its own, but must ignore fields that it does not know (config.md "Extensibility").
"""

import json
import re
from collections.abc import Mapping

from berth.base.errors import FailedPrecondition, Unimplemented
from cri_shim.model.container import ContainerSpec
from cri_shim.oci import capabilities, devices, mounts, namespaces, process, resources
from cri_shim.oci import seccomp as seccomp_profiles
from cri_shim.oci.facts import Facts, Json
from cri_shim.oci.labels import mount_label

VERSION = "1.0.2"

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")


def compose(spec: ContainerSpec, facts: Facts) -> Json:
    """The document for `runtime create`.

    Raises InvalidArgument for a field that cannot be met, Unimplemented for what this host or OCI
    runtime lacks, FailedPrecondition for a fact that the pod does not have. Nothing else.
    """
    _check_facts(spec, facts)
    document: Json = {
        "ociVersion": VERSION,
        "process": process.process(spec, facts),
        "root": {"path": facts.rootfs, "readonly": spec.security.readonly_rootfs},
        "mounts": mounts.mounts(spec, facts),
        "linux": _linux(spec, facts),
    }
    # Left out where it is empty: the runtime would refuse one without a new UTS namespace.
    hostname = namespaces.hostname(facts)
    if hostname:
        document["hostname"] = hostname
    if facts.cdi.hooks:
        document["hooks"] = facts.cdi.hooks_document()
    document["annotations"] = annotations(spec, facts)
    return document


def render(document: Json) -> bytes:
    """The bytes of config.json or process.json.

    A byte that is no UTF-8 becomes U+FFFD: JSON cannot carry it. crun refuses a document with such
    a byte, and runc's reader would put the same in its place.
    """
    # Not ASCII: the surrogates must stand in the text themselves, for the replacement to find them.
    text = json.dumps(document, ensure_ascii=False)
    return _ESCAPED_BYTE.sub("\ufffd", text).encode()


def annotations(spec: ContainerSpec, facts: Facts) -> dict[str, str]:
    """The pod's, over them the container's, over them the daemon's own.

    Some OCI runtimes act on annotations (handlers, devices, cgroup files), so that passing on what
    a pod's author wrote would be a way around every check: an allow list of the handler decides.
    """
    allowed = facts.allowed_annotations
    return {
        **_filtered(facts.pod_annotations, allowed),
        **_filtered(spec.annotations, allowed),
        **facts.annotations,
    }


def _filtered(found: Mapping[str, str], allowed: tuple[str, ...]) -> dict[str, str]:
    return {
        key: value
        for key, value in found.items()
        if any(_matches(key, pattern) for pattern in allowed)
    }


def _matches(key: str, pattern: str) -> bool:
    if pattern.endswith("*"):
        return key.startswith(pattern[:-1])
    return key == pattern


def _check_facts(spec: ContainerSpec, facts: Facts) -> None:
    """Everything that the spec names must have been looked for."""
    if spec.mounts != tuple(mount.spec for mount in facts.mounts):
        raise FailedPrecondition("not all mounts of the container were resolved")
    if spec.devices != tuple(device.spec for device in facts.devices):
        raise FailedPrecondition("not all devices of the container were resolved")
    if facts.cdi.intel_rdt:
        raise Unimplemented("a CDI device asks for Intel RDT, which this node does not give")


def _linux(spec: ContainerSpec, facts: Facts) -> Json:
    linux: Json = {
        "cgroupsPath": facts.cgroups_path,
        "namespaces": namespaces.namespaces(spec, facts),
        **namespaces.id_mappings(spec),
        "resources": resources.resources(spec.resources, facts.cgroup)
        | {"devices": devices.rules(spec, facts)},
        "devices": devices.nodes(spec, facts),
    }
    # kubelet lists the paths (/proc/kcore, /sys/firmware, …) and leaves the lists empty for
    # `procMount: Unmasked`: the runtime adds none of its own. Privileged containers see all.
    if not spec.security.privileged:
        linux["maskedPaths"] = list(spec.security.masked_paths)
        linux["readonlyPaths"] = list(spec.security.readonly_paths)
    # The filter is made for the bounding set, what the process can ever have, not for what it has
    # at the start: a set-user-id program may raise it later.
    profile = seccomp_profiles.seccomp(
        spec.security, facts, capabilities.bounding_set(spec.security, facts)
    )
    label = mount_label(spec.security, facts)
    optional = {
        "rootfsPropagation": mounts.rootfs_propagation(spec),
        "seccomp": profile,
        "mountLabel": label,
        "netDevices": devices.net_devices(facts),
    }
    return linux | {key: value for key, value in optional.items() if value}
