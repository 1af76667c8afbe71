"""Random CRI messages: built from nothing, or a sound one with a few fields spoilt."""

from collections.abc import Callable
from random import Random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from berth.pb import runtime_v1_pb2 as cri

TEXTS = (
    "", "a", "/", "/data", "/dev", "/dev/fuse", "/sys", "/proc", "/etc/hosts", "../..", "a/../b",
    "ALL", "net_admin", "CAP_SYS_ADMIN", "CAP_FOO", "runtime/default", "localhost/x", "unconfined",
    "0-3,8", "3-0", "2MB", "1GB", "64KB", "memory.max", "memory.oom.group", "pids.max", "max", "12",
    "cgroup.procs", "vendor.com/class=dev", "vendor.com/class=gpu0", "cdi.k8s.io/x", "=", "A=B",
    "s0:c1,c2", "svirt_t", "rwm", "r", "x", "nosuid", "noexec", "127.0.0.1", "::1", "\0", "é\n",
    "//x", "kubepods-pod1.slice", "net.ipv4.ip_forward", "kernel.shmmax", "10.0.0.1", "🦀",
    "x" * 300,
)  # fmt: skip
NUMBERS = (0, 1, 2, 3, 7, 100, 999, 1000, 1024, 65535, 65536, 100000, 2**20, 2**31 - 1)
EXTREMES = (-(2**63), -(2**31), -1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**64 - 1)

_RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def container() -> cri.ContainerConfig:
    """A sound one that uses many fields."""
    config = cri.ContainerConfig(command=["/bin/sh"], args=["-c", "true"], working_dir="/tmp")
    config.metadata.name = "main"
    config.image.image = "sha256:" + "a" * 64
    config.envs.add(key="LANG", value=b"C\xff")
    config.mounts.add(container_path="/data", host_path="/srv/data")
    config.devices.add(container_path="/dev/fuse", host_path="/dev/fuse", permissions="rw")
    config.annotations["note"] = "x"
    config.linux.resources.cpu_shares = 512
    config.linux.resources.memory_limit_in_bytes = 1 << 26
    config.linux.resources.hugepage_limits.add(page_size="2MB", limit=0)
    security = config.linux.security_context
    security.namespace_options.pid = cri.CONTAINER
    security.capabilities.add_capabilities.append("NET_ADMIN")
    security.masked_paths.append("/proc/kcore")
    security.run_as_user.value = 1000
    security.seccomp.profile_type = cri.SecurityProfile.RuntimeDefault
    return config


def sandbox() -> cri.PodSandboxConfig:
    """A sound one that uses many fields."""
    config = cri.PodSandboxConfig(hostname="pod", log_directory="/var/log/pods/x")
    config.metadata.name, config.metadata.uid, config.metadata.namespace = "p", "u", "default"
    config.dns_config.servers.append("10.0.0.10")
    config.port_mappings.add(container_port=80, host_port=8080, host_ip="127.0.0.1")
    config.labels["app"] = "x"
    config.linux.cgroup_parent = "/kubepods/pod1"
    config.linux.sysctls["net.ipv4.ip_forward"] = "1"
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


def random_message(
    kind: Callable[[], Message], sound: Callable[[], Message] | None, seed: int
) -> Message:
    """One of three in four is `sound` with up to four fields filled at random."""
    random = Random(seed)
    if sound is None or random.random() < 0.25:
        message = kind()
        _fill(message, random, 0, 0.5)
        return message
    message = sound()
    for _ in range(random.randrange(5)):
        _spoil(message, random)
    return message


def _spoil(message: Message, random: Random) -> None:
    """Walk down to some field and set it, clear it, or fill it."""
    field = random.choice(message.DESCRIPTOR.fields)
    inner = field.message_type
    if inner is not None and not _repeated(field) and random.random() < 0.85:
        _spoil(getattr(message, field.name), random)
    elif random.random() < 0.2:
        message.ClearField(field.name)
    else:
        _set(message, field, random, 0, 0.4)


def _fill(message: Message, random: Random, depth: int, chance: float) -> None:
    for field in message.DESCRIPTOR.fields:
        if depth < 6 and random.random() < chance:
            _set(message, field, random, depth, chance)


def _repeated(field: FieldDescriptor) -> bool:
    return bool(field.is_repeated)


def _set(
    message: Message, field: FieldDescriptor, random: Random, depth: int, chance: float
) -> None:
    inner = field.message_type
    if inner is not None and inner.GetOptions().map_entry:
        found = getattr(message, field.name)
        for _ in range(random.randrange(3)):
            found[random.choice(TEXTS)] = random.choice(TEXTS)
    elif _repeated(field):
        for _ in range(random.randrange(1, 3)):
            if inner is not None:
                _fill(getattr(message, field.name).add(), random, depth + 1, chance)
            else:
                getattr(message, field.name).append(_value(field, random))
    elif inner is not None:
        getattr(message, field.name).SetInParent()
        _fill(getattr(message, field.name), random, depth + 1, chance)
    else:
        setattr(message, field.name, _value(field, random))


def _value(field: FieldDescriptor, random: Random) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return random.choice((b"", b"x", b"\xff\xfe", b"a\0b", "é".encode()))
        case FieldDescriptor.CPPTYPE_STRING:
            return random.choice(TEXTS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return random.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return random.choice((0, 0, 1, 1, 2, 3, 64, 99, -1))
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return random.random()
        case _:
            low, high = _RANGES[field.cpp_type]
            numbers = NUMBERS if random.random() < 0.7 else EXTREMES
            return random.choice([n for n in numbers if low <= n <= high])
