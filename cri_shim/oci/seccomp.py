"""The seccomp filter of a container: none, the default profile, or one from a file.

runtime-spec config-linux.md, "Seccomp". The OCI runtime compiles the object with libseccomp and
loads it last before the program starts. Conditions on capabilities and kernels, which a filter
cannot have, are decided here for each container: what a capability permits anyway the filter need
not forbid.
"""

from berth.base.errors import FailedPrecondition, Unimplemented
from cri_shim.model.security import ContainerSecurity, Profile, ProfileKind
from cri_shim.oci.facts import Facts, Json
from cri_shim.oci.seccomp_file import read_profile
from cri_shim.oci.seccomp_table import (
    ALLOW,
    ARCHITECTURES,
    EPERM,
    ERRNO,
    EVERYONE,
    RULES,
    Compare,
    Rule,
)


def seccomp(security: ContainerSecurity, facts: Facts, capabilities: frozenset[str]) -> Json | None:
    """The OCI `seccomp` object, None for no filter.

    Nothing said means none, and a privileged container has none in any case. `capabilities` is the
    container's bounding set.
    """
    profile = security.seccomp
    if profile is None or security.privileged or profile.kind is ProfileKind.UNCONFINED:
        return None
    if not facts.seccomp.enabled:
        raise Unimplemented(
            "a seccomp profile is asked for, but this host's kernel or OCI runtime has no seccomp: "
            "use Unconfined or another node"
        )
    if profile.kind is ProfileKind.LOCALHOST:
        return _from_file(profile, facts, capabilities)
    return default_profile(facts.architecture, capabilities, facts.kernel)


def _from_file(profile: Profile, facts: Facts, capabilities: frozenset[str]) -> Json:
    if facts.seccomp.localhost is None:
        raise FailedPrecondition(
            f"seccomp profile {profile.ref}: the file could not be read on this host"
        )
    return read_profile(
        facts.seccomp.localhost, profile.ref, facts.architecture, capabilities, facts.kernel
    )


def default_profile(
    architecture: str, capabilities: frozenset[str], kernel: tuple[int, int]
) -> Json:
    """RuntimeDefault for a machine (as uname says), a bounding set and a kernel version.

    Calls that it does not name fail with EPERM.
    """
    rules = [r for r in RULES if _holds(r, architecture, capabilities, kernel)]
    # All that is allowed without conditions becomes one entry: libseccomp builds the filter from
    # entries, and a shorter list compiles faster at each start.
    plain = [r for r in rules if r.action == ALLOW and not r.args]
    names = {name for rule in plain for name in rule.names.split()}
    found: Json = {"defaultAction": ERRNO, "defaultErrnoRet": EPERM}
    # A process that makes a call by an architecture that is not listed is killed (libseccomp's
    # default): 32-bit programs on a 64-bit machine are.
    architectures = ARCHITECTURES.get(architecture, ())
    if architectures:
        found["architectures"] = [f"SCMP_ARCH_{name}" for name in architectures]
    found["syscalls"] = [
        {"names": sorted(names.union(EVERYONE)), "action": ALLOW},
        *(_entry(rule) for rule in rules if rule not in plain),
    ]
    return found


def _holds(
    rule: Rule, architecture: str, capabilities: frozenset[str], kernel: tuple[int, int]
) -> bool:
    machines = rule.machines.split()
    if rule.machines.startswith("!"):
        right_machine = f"!{architecture}" not in machines
    else:
        right_machine = not machines or architecture in machines
    needed = {f"CAP_{name}" for name in rule.caps.split()}
    excluded = {f"CAP_{name}" for name in rule.without.split()}
    # Of the needed one is enough; of the excluded none may be there.
    right_caps = (not needed or needed & capabilities) and not excluded & capabilities
    return bool(right_machine and right_caps and kernel >= rule.kernel)


def _entry(rule: Rule) -> Json:
    found: Json = {"names": rule.names.split(), "action": rule.action}
    if rule.errno is not None:
        found["errnoRet"] = rule.errno
    if rule.args:
        found["args"] = [_compare(arg) for arg in rule.args]
    return found


def _compare(arg: Compare) -> Json:
    found: Json = {"index": arg.index, "value": arg.value, "op": f"SCMP_CMP_{arg.op}"}
    return found | ({"valueTwo": arg.value_two} if arg.op == "MASKED_EQ" else {})
