"""Records to rows and back.

The spec is not stored twice: it is decoded again from the CRI message as it came, which is kept
byte for byte. Everything else of a record is a JSON document.
"""

import base64
import dataclasses
import json
from typing import Any

from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import Container, ContainerSpec, MountStatus, ProcessUser
from cri_shim.model.ids import ContainerId, ImageId, SandboxId
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.resources import LinuxResources
from cri_shim.model.sandbox import Sandbox, SandboxSpec

# Names of these tuples are names on disk: a field that is renamed loses its value in old records.
# One that is added needs a default in its dataclass, for records that were written before it.
_SANDBOX_FIELDS = (
    "created_at", "handler", "cgroup", "ips", "network", "netns", "pid", "pid_start", "boot",
    "cgroup_made", "admitted", "stopping_since", "selinux_level",
)  # fmt: skip
_CONTAINER_FIELDS = (
    "created_at", "image_name", "handler", "started_at", "finished_at", "exit_code", "reason",
    "message", "pid", "pid_start", "conmon_pid", "conmon_start", "cgroup", "log_path",
    "stop_signal", "image_mounts", "boot", "stopping_since", "oom_kills",
)  # fmt: skip

_NOTHING_SET = LinuxResources()


def sandbox_document(sandbox: Sandbox) -> str:
    document = {name: getattr(sandbox, name) for name in _SANDBOX_FIELDS}
    document["network"] = dict(sandbox.network)
    document["resources"] = _resources_text(sandbox.spec.resources)
    document["overhead"] = _resources_text(sandbox.spec.overhead)
    document["requested_handler"] = sandbox.spec.handler
    return json.dumps(document)


def sandbox_from(id_: str, state: str, document: str, config: bytes) -> Sandbox:
    fields: dict[str, Any] = json.loads(document)
    spec = SandboxSpec.from_cri(
        cri.PodSandboxConfig.FromString(config), fields.pop("requested_handler")
    )
    # UpdatePodSandboxResources changes these two, so the message as it came no longer has them.
    spec = dataclasses.replace(
        spec,
        resources=_resources(fields.pop("resources")),
        overhead=_resources(fields.pop("overhead")),
    )
    fields["ips"] = tuple(fields["ips"])  # JSON knows lists alone; records are hashable values
    return Sandbox(id=SandboxId(id_), spec=spec, state=SandboxState(state), config=config, **fields)


def container_document(container: Container) -> str:
    document = {name: getattr(container, name) for name in _CONTAINER_FIELDS}
    document["image_id"] = container.image_id
    document["user"] = [container.user.uid, container.user.gid, list(container.user.groups)]
    document["resources"] = _resources_text(container.resources)
    document["mount_images"] = [mount.image_id for mount in container.mounts]
    return json.dumps(document)


def container_from(
    id_: str, sandbox_id: str, state: str, document: str, config: bytes
) -> Container:
    fields: dict[str, Any] = json.loads(document)
    spec = ContainerSpec.from_cri(cri.ContainerConfig.FromString(config))
    # Whatever is left in `fields` at the end is passed by name: an unknown one, of a newer version,
    # fails this record, which is then reported and dropped rather than half understood.
    uid, gid, groups = fields.pop("user")
    images = fields.pop("mount_images")
    mounts = tuple(MountStatus(m, i) for m, i in zip(spec.mounts, images, strict=False))
    return Container(
        id=ContainerId(id_),
        sandbox_id=SandboxId(sandbox_id),
        spec=spec,
        state=ContainerState(state),
        image_id=ImageId(fields.pop("image_id")),
        user=ProcessUser(uid, gid, tuple(groups)),
        resources=_resources(fields.pop("resources")),
        mounts=mounts,
        image_mounts=tuple(fields.pop("image_mounts")),
        config=config,
        **fields,
    )


def _resources_text(resources: LinuxResources) -> str:
    if resources == _NOTHING_SET:
        return ""  # as an empty message is encoded; most pods have no overhead
    return base64.b64encode(resources.to_cri().SerializeToString()).decode()


def _resources(text: str) -> LinuxResources:
    message = cri.LinuxContainerResources.FromString(base64.b64decode(text))
    return LinuxResources.from_cri(message, "stored resources")
