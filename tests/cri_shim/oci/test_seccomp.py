"""The default seccomp profile and profiles from files."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.base.errors import FailedPrecondition, InvalidArgument, Unimplemented
from cri_shim.model.security import ContainerSecurity, Profile, ProfileKind
from cri_shim.oci.capabilities import DEFAULT, NAMES
from cri_shim.oci.facts import Json, SeccompFacts
from cri_shim.oci.seccomp import default_profile, seccomp
from cri_shim.oci.seccomp_file import read_profile
from cri_shim.oci.seccomp_table import ARCHITECTURES, EVERYONE, RULES
from tests.cri_shim.oci.oci_inputs import FACTS

KERNEL = (6, 1)


def _allowed(profile: Json) -> set[str]:
    return {
        name
        for entry in profile["syscalls"]
        if entry["action"] == "SCMP_ACT_ALLOW" and "args" not in entry
        for name in entry["names"]
    }


def _entries(profile: Json, name: str) -> list[Json]:
    return [entry for entry in profile["syscalls"] if name in entry["names"]]


def test_what_nobody_may() -> None:
    profile = default_profile("x86_64", DEFAULT, KERNEL)
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert profile["defaultErrnoRet"] == 1
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    refused = {
        "mount", "umount2", "unshare", "setns", "bpf", "init_module", "reboot", "keyctl", "add_key",
        "request_key", "io_uring_setup", "kexec_load", "swapon", "userfaultfd", "open_by_handle_at",
        "perf_event_open", "clock_settime", "mbind", "iopl", "vm86", "nfsservctl",
    }  # fmt: skip
    assert not refused & _allowed(profile)
    everyday = {
        "read", "openat", "execve", "mmap", "futex", "socketpair", "epoll_wait", "arch_prctl",
        "chroot", "ptrace",
    }  # fmt: skip
    assert everyday <= _allowed(profile)


def test_calls_with_conditions_on_their_arguments() -> None:
    profile = default_profile("x86_64", DEFAULT, KERNEL)
    (clone,) = _entries(profile, "clone")
    assert clone["args"] == [
        {"index": 0, "value": 0x7E020000, "op": "SCMP_CMP_MASKED_EQ", "valueTwo": 0}
    ]
    (clone3,) = _entries(profile, "clone3")
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    (socket,) = _entries(profile, "socket")
    assert socket["args"] == [{"index": 0, "value": 40, "op": "SCMP_CMP_NE"}]
    values = [entry["args"][0]["value"] for entry in _entries(profile, "personality")]
    assert values == [0, 8, 0x20000, 0x20008, 0xFFFFFFFF]


@pytest.mark.parametrize(
    ("capability", "calls"),
    [
        ("CAP_SYS_ADMIN", {"mount", "unshare", "clone", "clone3", "bpf", "sethostname"}),
        ("CAP_SYS_BOOT", {"reboot"}),
        ("CAP_SYS_MODULE", {"init_module", "finit_module"}),
        ("CAP_SYS_TIME", {"clock_settime"}),
        ("CAP_SYS_NICE", {"mbind", "set_mempolicy"}),
        ("CAP_BPF", {"bpf"}),
        ("CAP_PERFMON", {"perf_event_open"}),
        ("CAP_SYSLOG", {"syslog"}),
        ("CAP_DAC_READ_SEARCH", {"open_by_handle_at"}),
        ("CAP_SYS_PTRACE", {"kcmp", "pidfd_getfd"}),
    ],
)
def test_capabilities_open_calls(capability: str, calls: set[str]) -> None:
    assert not calls & _allowed(default_profile("x86_64", frozenset(), KERNEL))
    opened = default_profile("x86_64", frozenset({capability}), KERNEL)
    assert calls <= _allowed(opened)
    if capability == "CAP_SYS_ADMIN":
        assert len(_entries(opened, "clone3")) == 1


def test_architecture_and_kernel() -> None:
    assert "ptrace" not in _allowed(default_profile("x86_64", frozenset(), (4, 7)))
    arm = default_profile("aarch64", frozenset(), KERNEL)
    assert "sync_file_range2" in _allowed(arm)
    assert "arch_prctl" not in _allowed(arm)
    (clone,) = _entries(default_profile("s390x", frozenset(), KERNEL), "clone")
    assert clone["args"][0]["index"] == 1
    assert "architectures" not in default_profile("vax", frozenset(), KERNEL)


def test_the_table_is_well_formed() -> None:
    assert len(EVERYONE) == len(set(EVERYONE))
    machines = {m.removeprefix("!") for rule in RULES for m in rule.machines.split()}
    assert machines <= set(ARCHITECTURES)
    caps = {f"CAP_{c}" for rule in RULES for c in (rule.caps + " " + rule.without).split()}
    assert caps <= set(NAMES)


def _ask(kind: ProfileKind | None, facts: SeccompFacts, privileged: bool = False) -> Json | None:
    profile = None if kind is None else Profile(kind, "mine.json")
    security = ContainerSecurity(seccomp=profile, privileged=privileged)
    return seccomp(security, replace(FACTS, seccomp=facts), DEFAULT)


def test_which_profile() -> None:
    has, lacks = SeccompFacts(), SeccompFacts(enabled=False)
    default = ProfileKind.RUNTIME_DEFAULT
    assert _ask(None, lacks) is None
    assert _ask(ProfileKind.UNCONFINED, lacks) is None
    assert _ask(default, has, privileged=True) is None
    assert _ask(default, has) == default_profile("x86_64", DEFAULT, FACTS.kernel)
    with pytest.raises(Unimplemented, match="has no seccomp"):
        _ask(default, lacks)
    with pytest.raises(FailedPrecondition, match=r"mine\.json: the file could not be read"):
        _ask(ProfileKind.LOCALHOST, has)
    mine = SeccompFacts(localhost=b'{"defaultAction": "SCMP_ACT_ALLOW"}')
    found = _ask(ProfileKind.LOCALHOST, mine)
    assert found == {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}


def _read(document: Any, capabilities: frozenset[str] = DEFAULT, machine: str = "x86_64") -> Json:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_profile(data, "p.json", machine, capabilities, KERNEL)


def test_a_profile_of_the_runtime_specification_goes_through() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "listenerPath": "/run/agent.sock",
        "syscalls": [
            {
                "names": ["chmod", "fchmod"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 1,
                "args": [{"index": 1, "value": 2**64 - 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
            }
        ],
    }
    assert _read(document | {"comment": "passed over"}) == document


def test_conditions_are_decided() -> None:
    allow = {"action": "SCMP_ACT_ALLOW"}
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": None},
        ],
        "syscalls": [
            {"names": ["a"], "includes": {"caps": ["CAP_CHOWN"]}, **allow},
            {"names": ["b"], "includes": {"caps": ["CAP_BPF"]}, **allow},
            {"names": ["c"], "excludes": {"caps": ["CAP_CHOWN"]}, **allow},
            {"names": ["d"], "includes": {"arches": ["amd64"]}, **allow},
            {"names": ["e"], "includes": {"arches": ["arm64"]}, **allow},
            {"names": ["f"], "includes": {"minKernel": "4.8"}, **allow},
            {"names": ["g"], "includes": {"minKernel": "9.0"}, **allow},
            {"name": "h", "args": None, "includes": {}, "excludes": {}, **allow},
            {"names": ["i"], "excludes": {"minKernel": "4.8"}, **allow},
        ],
    }
    assert _allowed(_read(document)) == set("adfh")
    assert _read(document)["architectures"] == ["SCMP_ARCH_X86_64"]
    arm = _read(document, frozenset(), "aarch64")
    assert _allowed(arm) == set("cefh")
    assert arm["architectures"] == ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"{", "p.json is not JSON"),
        (b"\xff", "p.json is not JSON"),
        ([], "p.json is not an object"),
        ({}, "defaultAction is empty"),
        ({"defaultAction": "ALLOW"}, "defaultAction 'ALLOW' is not one of"),
        ({"defaultAction": 3}, "defaultAction is not a string"),
        ({"syscalls": {}}, "syscalls is not a list"),
        ({"syscalls": [{"names": []}]}, r"syscalls\[0\].names is empty"),
        ({"syscalls": [{"names": ["x y"]}]}, "not a system call"),
        ({"syscalls": [{"names": ["x"], "action": "SCMP_ACT_X"}]}, "SCMP_ACT_X"),
        ({"flags": ["X"]}, "not a flag"),
        ({"architectures": ["x86"]}, "not an architecture"),
        ({"defaultErrnoRet": 1.5}, "not a whole number"),
        ({"defaultErrnoRet": 5000}, "must lie in 0 to 4095"),
        ({"syscalls": [{"names": ["x"], "includes": {"minKernel": "x"}}]}, "not a version"),
    ],
)
def test_bad_profiles(document: Any, words: str) -> None:
    if isinstance(document, dict) and document and "defaultAction" not in document:
        document = {"defaultAction": "SCMP_ACT_ALLOW"} | document
    with pytest.raises(InvalidArgument, match=words):
        _read(document)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
_SYSCALL = st.fixed_dictionaries(
    {},
    optional={
        "names": st.lists(st.sampled_from(["read", "x-y", ""])) | _JSON,
        "action": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"]) | _JSON,
        "args": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "index": st.integers(-1, 7),
                    "value": _JSON,
                    "op": st.just("SCMP_CMP_EQ"),
                },
            )
        )
        | _JSON,
        "includes": st.fixed_dictionaries({}, optional={"caps": _JSON, "minKernel": _JSON}),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(_SYSCALL, max_size=3) | _JSON, _JSON)
def test_any_profile(syscalls: Any, other: Any) -> None:
    document = {"defaultAction": "SCMP_ACT_LOG", "syscalls": syscalls, "archMap": other}
    try:
        assert _read(document)["defaultAction"] == "SCMP_ACT_LOG"
    except InvalidArgument as error:
        assert "p.json" in str(error)
