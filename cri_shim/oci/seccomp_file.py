"""A seccomp profile from a file: checked, and reduced to what the OCI runtime reads.

Two forms are in use: the runtime specification's `linux.seccomp`, and the same with conditions on
capabilities, architecture and kernel (`archMap`, `includes`, `excludes`), which are decided here.
"""

import json
import re

from berth.base.errors import InvalidArgument
from berth.base.fields import ANY, Fields
from cri_shim.oci.facts import Json
from cri_shim.oci.seccomp_table import ARCHITECTURES

_ACTION_WORDS = "KILL KILL_PROCESS KILL_THREAD TRAP ERRNO TRACE ALLOW LOG NOTIFY"
_OPERATOR_WORDS = "NE LT LE EQ GE GT MASKED_EQ"
_FLAG_WORDS = "TSYNC LOG SPEC_ALLOW WAIT_KILLABLE_RECV NEW_LISTENER"
_ACTIONS = frozenset(f"SCMP_ACT_{name}" for name in _ACTION_WORDS.split())
_OPERATORS = frozenset(f"SCMP_CMP_{name}" for name in _OPERATOR_WORDS.split())
_FLAGS = frozenset(f"SECCOMP_FILTER_FLAG_{name}" for name in _FLAG_WORDS.split())
_ARCHITECTURE = re.compile(r"SCMP_ARCH_[A-Z0-9_]+\Z")
_NAME = re.compile(r"[a-z0-9_]+\Z")
_SHORT_NAMES = {
    "x86_64": "amd64",
    "i686": "x86",
    "aarch64": "arm64",
    "armv7l": "arm",
}
_ERRNO_MAX, _WORD_MAX = 4095, 2**64 - 1


def read_profile(
    data: bytes,
    ref: str,
    architecture: str,
    capabilities: frozenset[str],
    kernel: tuple[int, int],
) -> Json:
    """The OCI `seccomp` object; InvalidArgument names the file and the field."""
    where = f"seccomp profile {ref}"
    try:
        top = Fields(json.loads(data), where, ANY)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{where} is not JSON: {error}") from error
    found: Json = {"defaultAction": _one_of(top, "defaultAction", _ACTIONS)}
    found |= _errno(top, "defaultErrnoRet")
    found |= _lists(top, architecture)
    for name in ("listenerPath", "listenerMetadata"):
        if name in top:
            found[name] = top.text(name)
    found["syscalls"] = [
        _syscall(fields)
        for fields in top.objects("syscalls", ANY)
        if _applies(fields, architecture, capabilities, kernel)
    ]
    return found


def _lists(top: Fields, architecture: str) -> Json:
    architectures = list(top.strings("architectures")) or _from_map(top, architecture)
    for name in architectures:
        if not _ARCHITECTURE.match(name):
            raise InvalidArgument(f"{top.place('architectures')} has {name!r}: not an architecture")
    flags = list(top.strings("flags"))
    for flag in flags:
        if flag not in _FLAGS:
            raise InvalidArgument(f"{top.place('flags')} has {flag!r}: not a flag of seccomp(2)")
    both = {"architectures": architectures, "flags": flags}
    return {key: value for key, value in both.items() if value}


def _from_map(top: Fields, architecture: str) -> list[str]:
    own = ARCHITECTURES.get(architecture, ("",))[0]
    for fields in top.objects("archMap", ANY):
        if fields.text("architecture") == f"SCMP_ARCH_{own}":
            return [fields.text("architecture"), *fields.strings("subArchitectures")]
    return []


def _applies(
    fields: Fields, architecture: str, capabilities: frozenset[str], kernel: tuple[int, int]
) -> bool:
    """All named capabilities are needed; any excluded one is enough to leave the entry out."""
    short = _SHORT_NAMES.get(architecture, architecture)
    needed, barred = fields.inner("includes", ANY), fields.inner("excludes", ANY)
    caps, arches = needed.strings("caps"), needed.strings("arches")
    if not capabilities.issuperset(caps) or (arches and short not in arches):
        return False
    if not capabilities.isdisjoint(barred.strings("caps")) or short in barred.strings("arches"):
        return False
    if "minKernel" in barred and kernel >= _kernel(barred):
        return False
    return "minKernel" not in needed or kernel >= _kernel(needed)


def _kernel(fields: Fields) -> tuple[int, int]:
    text = fields.text("minKernel")
    match = re.match(r"(\d{1,4})\.(\d{1,4})\Z", text, re.ASCII)
    if not match:
        raise InvalidArgument(f"{fields.place('minKernel')} {text!r} is not a version such as 4.8")
    return int(match[1]), int(match[2])


def _syscall(fields: Fields) -> Json:
    names = list(fields.strings("names"))
    if "name" in fields:
        names.append(fields.text("name"))
    if not names:
        raise InvalidArgument(f"{fields.place('names')} is empty")
    for name in names:
        if not _NAME.match(name):
            raise InvalidArgument(f"{fields.place('names')} has {name!r}: not a system call")
    found: Json = {"names": names, "action": _one_of(fields, "action", _ACTIONS)}
    found |= _errno(fields, "errnoRet")
    args = [_argument(arg) for arg in fields.objects("args", ANY)]
    return found | ({"args": args} if args else {})


def _argument(fields: Fields) -> Json:
    return {
        "index": _number(fields, "index", 5),
        "value": _number(fields, "value", _WORD_MAX),
        "valueTwo": fields.integer("valueTwo", 0, _WORD_MAX) or 0,
        "op": _one_of(fields, "op", _OPERATORS),
    }


def _number(fields: Fields, name: str, high: int) -> int:
    value = fields.integer(name, 0, high)
    if value is None:
        raise InvalidArgument(f"{fields.place(name)} is missing")
    return value


def _errno(fields: Fields, name: str) -> Json:
    value = fields.integer(name, 0, _ERRNO_MAX)
    return {} if value is None else {name: value}


def _one_of(fields: Fields, name: str, known: frozenset[str]) -> str:
    text = fields.text(name, needed=True)
    if text not in known:
        raise InvalidArgument(f"{fields.place(name)} {text!r} is not one of {sorted(known)}")
    return text
