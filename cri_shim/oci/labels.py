"""AppArmor profile and SELinux labels of a container.

runtime-spec config.md "Linux Process" (`apparmorProfile`, `selinuxLabel`) and config-linux.md
"Mount Label".

Where the host has no such module, a request for it is an error only if it names a profile: the
default of a module that is not there is nothing.

An SELinux label is user:role:type:level. The type says what kinds of files a process may touch, the
level (`s0:c1,c2`) keeps pods with the same type apart: processes and files of one pod share it.
"""

import re

from berth.base.errors import FailedPrecondition, InvalidArgument, Unimplemented
from cri_shim.model.security import ContainerSecurity, ProfileKind, SELinuxLabel
from cri_shim.oci.facts import AppArmorFacts, Facts

# A label is written to /proc/self/attr/exec and into mount options, where commas part options: only
# what the policy language allows comes in.
_PART = re.compile(r"[A-Za-z0-9_.@-]*\Z")
_SET = r"c\d{1,4}(\.c\d{1,4})?"
_LEVEL = re.compile(
    rf"s\d{{1,4}}(-s\d{{1,4}})?(:{_SET}(,{_SET})*(-s\d{{1,4}}:{_SET}(,{_SET})*)?)?\Z"
)


def apparmor_profile(security: ContainerSecurity, facts: Facts) -> str:
    """Name of the profile, empty for none.

    Nothing said means the default profile. A privileged container has none but by name.
    """
    wanted = security.apparmor
    kind = ProfileKind.RUNTIME_DEFAULT if wanted is None else wanted.kind
    match kind:
        case ProfileKind.UNCONFINED:
            # Said by name: an empty profile would be inherited from the daemon.
            return "" if facts.apparmor.loaded is None else "unconfined"
        case ProfileKind.LOCALHOST:
            return _loaded(wanted.ref if wanted is not None else "", facts.apparmor)
        case ProfileKind.RUNTIME_DEFAULT:
            return _default(facts.apparmor, security.privileged)


def _loaded(name: str, facts: AppArmorFacts) -> str:
    if facts.loaded is None:
        raise Unimplemented(
            f"AppArmor profile {name!r} is asked for, but this host has no AppArmor: "
            "use RuntimeDefault or another node"
        )
    if name not in facts.loaded:
        raise FailedPrecondition(
            f"AppArmor profile {name!r} is not loaded on this host: load it with apparmor_parser"
        )
    return name


def _default(facts: AppArmorFacts, privileged: bool) -> str:
    if facts.loaded is None or privileged or not facts.default:
        return ""
    return _loaded(facts.default, facts)


def process_label(security: ContainerSecurity, facts: Facts) -> str:
    """SELinux label of the processes; the container's options over the pod's label."""
    # Privileged containers run unlabelled, in the type of the runtime, as in other runtimes.
    check_label(security.selinux)
    if facts.selinux is None or security.privileged:
        return ""
    return merged(facts.selinux.process, security.selinux)


def mount_label(security: ContainerSecurity, facts: Facts) -> str:
    """SELinux label of the container's files: the pod's, at the level of the process."""
    check_label(security.selinux)
    if facts.selinux is None or security.privileged:
        return ""
    return merged(facts.selinux.file, SELinuxLabel(level=security.selinux.level))


def merged(base: str, wanted: SELinuxLabel) -> str:
    """The label `base` with the parts that `wanted` names."""
    parts = (base.split(":", 3) + [""] * 4)[:4]  # a level holds colons itself
    chosen = (wanted.user, wanted.role, wanted.type, wanted.level)
    return ":".join(new or old for new, old in zip(chosen, parts, strict=True)).rstrip(":")


def check_label(label: SELinuxLabel) -> None:
    """InvalidArgument for what cannot be part of a label, also where the host has no SELinux."""
    where = "config.linux.security_context.selinux_options"
    for name, part in (("user", label.user), ("role", label.role), ("type", label.type)):
        if not _PART.match(part):
            raise InvalidArgument(f"{where}.{name} {part!r} is not a part of an SELinux label")
    if label.level and not _LEVEL.match(label.level):
        raise InvalidArgument(f"{where}.level {label.level!r} is not a level such as s0:c123,c456")
