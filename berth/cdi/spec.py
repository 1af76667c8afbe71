"""A CDI specification file as a value, and bytes to value.

Accepted are versions 0.3.0 to 1.1.0, as JSON or YAML. A field needs the version that introduced
it, as the specification demands: a file that says less than it uses is refused, not guessed at.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from berth.base.errors import InvalidArgument
from berth.base.fields import Fields
from berth.cdi.edits import HOOKS, CdiDevice, CdiHook, CdiMount, CdiNetDevice, Edits
from berth.cdi.names import check_device, check_kind

VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0")

_EDITS = "env deviceNodes mounts hooks additionalGids intelRdt netDevices"
_NODE = "path hostPath type major minor fileMode permissions uid gid"
# Fields of 1.1.0, and all: RDT is not given, but a typing error in it is still one.
_RDT_11 = ("schemata", "enableMonitoring")
_RDT = "closID l3CacheSchema memBwSchema enableCMT enableMBM schemata enableMonitoring"
# As a uid or gid this is -1, "leave unchanged" to chown(2): ids are one less at most.
_ID = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    edits: Edits
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spec:
    """`kind` is vendor/class; `edits` apply once if any of the devices is used."""

    kind: str
    devices: tuple[Device, ...]
    edits: Edits = Edits()
    annotations: Mapping[str, str] = field(default_factory=dict)
    version: str = "0.6.0"

    def device(self, name: str) -> Device | None:
        return next((device for device in self.devices if device.name == name), None)


def parse(data: bytes, path: str) -> Spec:
    """Read and check a file's content; InvalidArgument names the file and the field."""
    top = Fields(_load(data, path), path, "cdiVersion kind annotations devices containerEdits")
    version = top.text("cdiVersion", needed=True).removeprefix("v")
    if version not in VERSIONS:
        raise InvalidArgument(f"{path}.cdiVersion {version} is not one of {', '.join(VERSIONS)}")
    kind = check_kind(top.text("kind", needed=True), f"{path}.kind")
    if "." in kind.partition("/")[2]:  # a class with dots
        _since("0.6.0", version, top.place("kind"))
    if "annotations" in top:
        _since("0.6.0", version, top.place("annotations"))
    return Spec(
        kind=kind,
        devices=_devices(top, version),
        edits=_edits(top.inner("containerEdits", _EDITS), version),
        annotations=top.texts("annotations"),
        version=version,
    )


def _load(data: bytes, path: str) -> object:
    """JSON first, which programs write and which is read much faster; else YAML."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.safe_load(data.decode())
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = str(error).replace("\n", " ")
        raise InvalidArgument(f"{path} is neither JSON nor YAML: {reason}") from error


def _since(needed: str, version: str, place: str) -> None:
    if VERSIONS.index(version) < VERSIONS.index(needed):
        raise InvalidArgument(f"{place} needs cdiVersion {needed}, and the file says {version}")


def _devices(top: Fields, version: str) -> tuple[Device, ...]:
    found: dict[str, Device] = {}
    for fields in top.objects("devices", "name annotations containerEdits"):
        name = check_device(fields.text("name", needed=True), fields.place("name"))
        if name in found:
            raise InvalidArgument(f"{fields.place('name')} {name!r} occurs twice")
        if not name[0].isalpha():  # before 0.5.0 a name began with a letter: no `0`, `1`, …
            _since("0.5.0", version, fields.place("name"))
        if "annotations" in fields:
            _since("0.6.0", version, fields.place("annotations"))
        edits = _edits(fields.inner("containerEdits", _EDITS), version)
        found[name] = Device(name, edits, fields.texts("annotations"))
    return tuple(found.values())


def _edits(fields: Fields, version: str) -> Edits:
    for name, since in (("additionalGids", "0.7.0"), ("netDevices", "1.1.0")):
        if name in fields:
            _since(since, version, fields.place(name))
    gids = fields.integers("additionalGids", 0, _ID - 1)
    return Edits(
        env=_env(fields),
        devices=tuple(_node(f, version) for f in fields.objects("deviceNodes", _NODE)),
        mounts=tuple(
            _mount(f, version)
            for f in fields.objects("mounts", "hostPath containerPath options type")
        ),
        hooks=tuple(_hook(f) for f in fields.objects("hooks", "hookName path args env timeout")),
        additional_gids=tuple(gid for gid in gids if gid),  # 0 is ignored, says the specification
        net_devices=tuple(
            CdiNetDevice(f.text("hostInterfaceName", needed=True), f.text("name", needed=True))
            for f in fields.objects("netDevices", "hostInterfaceName name")
        ),
        intel_rdt=_rdt(fields, version),
    )


def _env(fields: Fields) -> tuple[str, ...]:
    entries = fields.strings("env")
    for entry in entries:
        if entry.find("=") < 1:
            raise InvalidArgument(f"{fields.place('env')} {entry!r} is not NAME=value")
    return entries


def _node(fields: Fields, version: str) -> CdiDevice:
    kind, permissions = fields.text("type"), fields.text("permissions")
    if kind not in ("", "b", "c", "u", "p"):
        raise InvalidArgument(f"{fields.place('type')} {kind!r} is not b, c, u or p")
    if set(permissions) - set("rwm"):
        raise InvalidArgument(f"{fields.place('permissions')}: use letters of rwm")
    if "hostPath" in fields:
        _since("0.5.0", version, fields.place("hostPath"))
    return CdiDevice(
        path=_absolute(fields, "path"),
        host_path=fields.text("hostPath"),
        kind="c" if kind == "u" else kind,  # mknod(1) has two letters for a character device
        major=fields.integer("major", 0, 2**31) or 0,
        minor=fields.integer("minor", 0, 2**31) or 0,
        file_mode=fields.integer("fileMode", 0, _ID),
        permissions=permissions,
        uid=fields.integer("uid", 0, _ID - 1),
        gid=fields.integer("gid", 0, _ID - 1),
    )


def _mount(fields: Fields, version: str) -> CdiMount:
    if "type" in fields:
        _since("0.4.0", version, fields.place("type"))
    return CdiMount(
        host_path=fields.text("hostPath", needed=True),
        container_path=_absolute(fields, "containerPath"),
        options=fields.strings("options"),
        type=fields.text("type"),
    )


def _hook(fields: Fields) -> CdiHook:
    name = fields.text("hookName", needed=True)
    if name not in HOOKS:
        raise InvalidArgument(f"{fields.place('hookName')} {name!r} is not one of {HOOKS}")
    return CdiHook(
        name=name,
        path=_absolute(fields, "path"),
        args=fields.strings("args"),
        env=fields.strings("env"),
        timeout=fields.integer("timeout", 1, 2**31),
    )


def _rdt(fields: Fields, version: str) -> bool:
    """Whether Intel RDT is asked for; its fields are checked and not kept."""
    if "intelRdt" not in fields:
        return False
    _since("0.7.0", version, fields.place("intelRdt"))
    inner = fields.inner("intelRdt", _RDT)
    for name in _RDT_11:
        if name in inner:
            _since("1.1.0", version, inner.place(name))
    return True


def _absolute(fields: Fields, name: str) -> str:
    text = fields.text(name, needed=True)
    if not text.startswith("/"):
        raise InvalidArgument(f"{fields.place(name)} {text!r} is not an absolute path")
    return text
