"""Records to CRI messages. Encodings of list entries are kept until the record changes."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from berth.pb import runtime_v1_pb2 as cri
from cri_shim.model.container import Container
from cri_shim.model.image import Image
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox

R = TypeVar("R")

# The intents are not shown (`store.view`), but the table has every state, so that none is missed.
CONTAINER_STATES: Mapping[ContainerState, "cri.ContainerState"] = {
    ContainerState.CREATING: cri.CONTAINER_UNKNOWN,
    ContainerState.CREATED: cri.CONTAINER_CREATED,
    ContainerState.RUNNING: cri.CONTAINER_RUNNING,
    ContainerState.EXITED: cri.CONTAINER_EXITED,
    ContainerState.REMOVING: cri.CONTAINER_UNKNOWN,
}


def sandbox_state(sandbox: Sandbox) -> "cri.PodSandboxState":
    ready = sandbox.state is SandboxState.READY
    return cri.SANDBOX_READY if ready else cri.SANDBOX_NOTREADY


def _sandbox_metadata(sandbox: Sandbox) -> cri.PodSandboxMetadata:
    meta = sandbox.spec.metadata
    return cri.PodSandboxMetadata(
        name=meta.name, uid=meta.uid, namespace=meta.namespace, attempt=meta.attempt
    )


def sandbox_entry(sandbox: Sandbox) -> cri.PodSandbox:
    """One entry of ListPodSandbox."""
    return cri.PodSandbox(
        id=sandbox.id,
        metadata=_sandbox_metadata(sandbox),
        state=sandbox_state(sandbox),
        created_at=sandbox.created_at,
        labels=sandbox.spec.labels,
        annotations=sandbox.spec.annotations,
        runtime_handler=sandbox.spec.handler,
    )


def sandbox_status(sandbox: Sandbox) -> cri.PodSandboxStatus:
    # From the message as it came: kubelet compares these with what it asked for.
    config = cri.PodSandboxConfig.FromString(sandbox.config)
    options = config.linux.security_context.namespace_options
    # A pod on the host's network has no addresses here: kubelet fills in the node's own.
    network = None
    if sandbox.ips:
        more = [cri.PodIP(ip=ip) for ip in sandbox.ips[1:]]
        network = cri.PodSandboxNetworkStatus(ip=sandbox.ips[0], additional_ips=more)
    return cri.PodSandboxStatus(
        id=sandbox.id,
        metadata=_sandbox_metadata(sandbox),
        state=sandbox_state(sandbox),
        created_at=sandbox.created_at,
        network=network or cri.PodSandboxNetworkStatus(),
        linux=cri.LinuxPodSandboxStatus(namespaces=cri.Namespace(options=options)),
        labels=sandbox.spec.labels,
        annotations=sandbox.spec.annotations,
        runtime_handler=sandbox.spec.handler,
    )


def _container_image(container: Container) -> cri.ImageSpec:
    # As the user wrote it: kubelet has already turned `image` into an id by the time it creates.
    name = container.spec.user_specified_image or container.image_name
    return cri.ImageSpec(image=name, user_specified_image=container.spec.user_specified_image)


def container_entry(container: Container) -> cri.Container:
    """One entry of ListContainers."""
    return cri.Container(
        id=container.id,
        pod_sandbox_id=container.sandbox_id,
        metadata=cri.ContainerMetadata(name=container.spec.name, attempt=container.spec.attempt),
        image=_container_image(container),
        # The id in both: kubelet's image garbage collector takes these for what is in use, and
        # compares them with the ids of ListImages.
        image_ref=container.image_id,
        image_id=container.image_id,
        state=CONTAINER_STATES[container.state],
        created_at=container.created_at,
        labels=container.spec.labels,
        annotations=container.spec.annotations,
    )


def container_status(container: Container) -> cri.ContainerStatus:
    config = cri.ContainerConfig.FromString(container.config)
    user = container.user
    return cri.ContainerStatus(
        id=container.id,
        metadata=cri.ContainerMetadata(name=container.spec.name, attempt=container.spec.attempt),
        state=CONTAINER_STATES[container.state],
        created_at=container.created_at,
        started_at=container.started_at,
        finished_at=container.finished_at,
        exit_code=container.exit_code,
        image=_container_image(container),
        image_ref=container.image_id,
        image_id=container.image_id,
        reason=container.reason,
        message=container.message,
        labels=container.spec.labels,
        annotations=container.spec.annotations,
        mounts=_mounts(container, config),
        log_path=container.log_path,
        resources=cri.ContainerResources(linux=container.resources.to_cri()),
        user=cri.ContainerUser(
            linux=cri.LinuxContainerUser(
                uid=user.uid, gid=user.gid, supplemental_groups=user.groups
            )
        ),
        stop_signal=_signal(container.stop_signal),
    )


def _mounts(container: Container, config: cri.ContainerConfig) -> list[cri.Mount]:
    """The mounts as asked for; image volumes also name the image they got."""
    # From the message: the paths as the client wrote them.
    mounts = list(config.mounts)
    for mount, status in zip(mounts, container.mounts, strict=False):
        if status.image_id:
            mount.image.image_ref = status.image_id
    return mounts


def _signal(name: str) -> str:
    """CRI's name of a signal; a number, or a name CRI has none for, is the runtime's default."""
    named = "SIGNAL_" + name.replace("+", "PLUS").replace("-", "MINUS")
    return named if named in cri.Signal.keys() else "SIGNAL_RUNTIME_DEFAULT"  # noqa: SIM118 (a protobuf enum, not a dict)


def image_message(image: Image) -> cri.Image:
    # For runAsNonRoot: kubelet refuses uid 0, and any name, which it cannot resolve to a number.
    uid, username = _image_user(image.config.user)
    return cri.Image(
        id=image.id,
        repo_tags=image.tags,
        repo_digests=image.digests,
        size=image.size,
        uid=None if uid is None else cri.Int64Value(value=uid),
        username=username,
        spec=cri.ImageSpec(image=image.id, annotations=image.annotations),
        pinned=image.pinned,
    )


def _image_user(user: str) -> tuple[int | None, str]:
    """Uid xor name of the image's user; nothing given is uid 0."""
    name = user.partition(":")[0]
    if not name:
        return 0, ""
    if name.isascii() and name.isdigit():
        return int(name), ""
    return None, name


class Cache:
    """Encoded list entries by id, each kept as long as the record is the same object."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[object, bytes]] = {}

    def sandboxes(self, sandboxes: Iterable[Sandbox]) -> bytes:
        """An encoded ListPodSandboxResponse."""
        return b"".join([self._entry(s.id, s, _encode_sandbox) for s in sandboxes])

    def containers(self, containers: Iterable[Container]) -> bytes:
        """An encoded ListContainersResponse."""
        return b"".join([self._entry(c.id, c, _encode_container) for c in containers])

    def prune(self, known: Iterable[Iterable[str]]) -> None:
        """Drop entries of records that are gone."""
        alive = {id_ for ids in known for id_ in ids}
        if len(self._entries) > len(alive) + 64:
            self._entries = {k: v for k, v in self._entries.items() if k in alive}

    def _entry(self, id_: str, record: R, encode: Callable[[R], bytes]) -> bytes:
        # By identity: a record is immutable, and a change makes another object.
        kept = self._entries.get(id_)
        if kept is not None and kept[0] is record:
            return kept[1]
        encoded = encode(record)
        self._entries[id_] = (record, encoded)
        return encoded


def _encode_sandbox(sandbox: Sandbox) -> bytes:
    # A repeated field's encoding is the concatenation of its entries' encodings.
    return cri.ListPodSandboxResponse(items=[sandbox_entry(sandbox)]).SerializeToString()


def _encode_container(container: Container) -> bytes:
    return cri.ListContainersResponse(containers=[container_entry(container)]).SerializeToString()
