"""A CDI specification as the bytes of its file."""

import json
from typing import Any

from berth.base.errors import InvalidArgument
from berth.cdi.edits import CdiDevice, CdiMount, Edits
from berth.cdi.spec import Spec, parse


def render(spec: Spec) -> bytes:
    """The bytes of a file with this content (JSON, one trailing newline).

    It is read back before it is returned (InvalidArgument): a file that no runtime can read would
    be found only when the first container asks for its device.
    """
    if any(edits.intel_rdt for edits in (spec.edits, *(d.edits for d in spec.devices))):
        raise InvalidArgument(f"CDI specification of {spec.kind}: Intel RDT cannot be written")
    document = _drop_empty(
        {
            "cdiVersion": spec.version,
            "kind": spec.kind,
            "annotations": dict(spec.annotations),
            "containerEdits": _edits_document(spec.edits),
        }
    )
    document["devices"] = [
        _drop_empty({"name": device.name, "annotations": dict(device.annotations)})
        | {"containerEdits": _edits_document(device.edits)}
        for device in spec.devices
    ]
    data = json.dumps(document, indent=1).encode() + b"\n"
    parse(data, f"CDI specification of {spec.kind}")
    return data


def _edits_document(edits: Edits) -> dict[str, Any]:
    hooks = [
        {
            "hookName": hook.name,
            "path": hook.path,
            "args": list(hook.args),
            "env": list(hook.env),
            "timeout": hook.timeout,
        }
        for hook in edits.hooks
    ]
    nets = [{"hostInterfaceName": n.host_name, "name": n.name} for n in edits.net_devices]
    return _drop_empty(
        {
            "env": list(edits.env),
            "deviceNodes": [_node_document(device) for device in edits.devices],
            "mounts": [_mount_document(mount) for mount in edits.mounts],
            "hooks": [_drop_empty(hook) for hook in hooks],
            "additionalGids": list(edits.additional_gids),
            "netDevices": nets,
        }
    )


def _node_document(device: CdiDevice) -> dict[str, Any]:
    numbers = {"major": device.major, "minor": device.minor} if device.kind in ("b", "c") else {}
    owner = {"fileMode": device.file_mode, "uid": device.uid, "gid": device.gid}
    texts = {
        "path": device.path,
        "hostPath": device.host_path,
        "type": device.kind,
        "permissions": device.permissions,
    }
    given = {key: value for key, value in owner.items() if value is not None}
    return _drop_empty(texts) | numbers | given


def _mount_document(mount: CdiMount) -> dict[str, Any]:
    return _drop_empty(
        {
            "hostPath": mount.host_path,
            "containerPath": mount.container_path,
            "options": list(mount.options),
            "type": mount.type,
        }
    )


def _drop_empty(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value not in (None, "", [], {})}
