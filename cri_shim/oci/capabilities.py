"""Linux capabilities: names, the default set, and the sets of a process.

Rules: CRI `Capability` and capabilities(7). `ALL` in add or drop comes first, single names after,
a name both added and dropped is dropped. config.md "Linux Process", `capabilities`.

The sets, for a process that execs a program without file capabilities: `bounding` is the most it
and its descendants can ever have; `permitted` what it may switch on, `effective` what counts now.
A user other than root loses both at exec and keeps only `ambient`, hence the field of that name in
CRI; and what is ambient must be inheritable too.
"""

from berth.base.errors import InvalidArgument
from cri_shim.model.security import Capabilities, ContainerSecurity
from cri_shim.oci.facts import Facts

_KERNEL_ORDER = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO
SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG
MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM
BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_USUAL = """
AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID
SETPCAP SETUID SYS_CHROOT
"""

NAMES = tuple(f"CAP_{name}" for name in _KERNEL_ORDER.split())
"""In the kernel's order: the index is the bit (include/uapi/linux/capability.h)."""

DEFAULT = frozenset(f"CAP_{name}" for name in _USUAL.split())
"""What a container has if nothing is said: the fourteen that all runtimes of the field give."""

ALL = "ALL"


def known(last: int) -> frozenset[str]:
    """Those that the kernel knows; `last` is /proc/sys/kernel/cap_last_cap."""
    return frozenset(NAMES[: last + 1])


def from_mask(mask: int) -> frozenset[str]:
    """Names of the bits, as /proc/<pid>/status shows them (CapBnd)."""
    return frozenset(name for bit, name in enumerate(NAMES) if mask >> bit & 1)


def asked(request: Capabilities, privileged: bool) -> frozenset[str]:
    """The permitted set as asked for, before the host's limits."""
    _check(request)
    # ALL first, then single names, whatever their order: people write "drop ALL, add
    # NET_BIND_SERVICE" as well as "add ALL, drop SYS_ADMIN".
    chosen = set(NAMES) if privileged or ALL in request.add else set(DEFAULT)
    # kubelet sends the pod's capabilities beside `privileged`, which wins over any drop.
    if ALL in request.drop and not privileged:
        chosen.clear()
    chosen |= {name for name in request.add if name != ALL}
    if not privileged:
        chosen -= set(request.drop)
    return frozenset(chosen)


def ambient(request: Capabilities, permitted: frozenset[str]) -> frozenset[str]:
    """The ambient set as asked for; InvalidArgument for what is not permitted at all."""
    if ALL in request.ambient:
        return permitted
    for name in request.ambient:
        if name not in permitted:
            raise InvalidArgument(
                f"ambient capability {name} is not among the container's capabilities: "
                "name it in add_capabilities too"
            )
    return frozenset(request.ambient)


def sets(request: Capabilities, privileged: bool, allowed: frozenset[str]) -> dict[str, list[str]]:
    """The OCI `capabilities` object, kept within `allowed`, names in the kernel's order.

    Inheritable stays empty but for ambient ones, which the kernel demands there: an inheritable
    set would give file capabilities to unprivileged users of the container (CVE-2022-24769).
    """
    # Asked for, but beyond this host: left out silently, as `privileged` on a host in a container
    # must still start.
    permitted = asked(request, privileged)
    raised = ambient(request, permitted)
    main, extra = _ordered(permitted & allowed), _ordered(raised & allowed)
    found = {name: list(main) for name in ("bounding", "effective", "permitted")}
    return found | ({"inheritable": extra, "ambient": list(extra)} if extra else {})


def of_container(security: ContainerSecurity, facts: Facts) -> dict[str, list[str]]:
    """The OCI `capabilities` object of this container."""
    return sets(security.capabilities, security.privileged, _allowed(security, facts))


def bounding_set(security: ContainerSecurity, facts: Facts) -> frozenset[str]:
    """What the seccomp profile depends on."""
    return frozenset(of_container(security, facts)["bounding"])


def _allowed(security: ContainerSecurity, facts: Facts) -> frozenset[str]:
    """A process that enters a user namespace gets a full bounding set (user_namespaces(7))."""
    if security.namespaces.user is not None:
        return facts.known_capabilities
    return facts.capabilities & facts.known_capabilities


def _ordered(names: frozenset[str]) -> list[str]:
    return [name for name in NAMES if name in names]


def _check(request: Capabilities) -> None:
    for name in (*request.add, *request.drop, *request.ambient):
        if name != ALL and name not in NAMES:
            raise InvalidArgument(
                f"capability {name!r} does not exist: see capabilities(7) for the names"
            )
