"""What the verbs work with, for tests without a daemon: real records, stand-ins for the host.

Records, locks, events, exits and stops are the daemon's own. Admission, network, images and the
OCI runtime do nothing on the host: they note what they were asked, and fail where a test says so.
"""

import itertools
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from berth.base.locks import NamedLocks
from berth.base.operations import Operations
from berth.linux.cgroups.naming import Driver
from berth.linux.cgroups.v2 import CgroupsV2
from berth.linux.tasks import Tasks
from berth.pb import runtime_v1_pb2 as cri
from cri_shim.admission.contract import AdmitRequest
from cri_shim.context import Context, Settings
from cri_shim.images.service import Images
from cri_shim.model.container import Container, ContainerSpec
from cri_shim.model.events import Event
from cri_shim.model.ids import ContainerId, Digest, ImageId, SandboxId
from cri_shim.model.image import Image, ImageConfig
from cri_shim.model.lifecycle import ContainerState, SandboxState
from cri_shim.model.sandbox import Sandbox, SandboxSpec
from cri_shim.network.none import NoNetwork
from cri_shim.oci.facts import CgroupFacts
from cri_shim.runtime.exits import ExitWatcher
from cri_shim.runtime.handler import Handler, Handlers
from cri_shim.runtime.host_facts import HostFacts
from cri_shim.runtime.process_documents import ProcessDocuments
from cri_shim.store.directories import Directories
from cri_shim.store.store import Store
from cri_shim.upkeep.events import Events, Subscription
from cri_shim.upkeep.exits import Exits
from cri_shim.upkeep.stops import Stops

IMAGE = Image(
    ImageId("sha256:" + "a" * 64), ("busybox:1",), (), 1, ImageConfig(), (), Digest("sha256:m")
)
FACTS = HostFacts(
    capabilities=frozenset(),
    known_capabilities=frozenset(),
    architecture="x86_64",
    kernel=(6, 1),
    cgroup=CgroupFacts(),
    seccomp=False,
    oom_floor=0,
    may_raise=False,
    selinux=None,
)
_numbers = itertools.count(1)


@dataclass
class ScriptedAdmission:
    """An `Admission` that notes in `told` what it hears; `refuses` is raised to who asks."""

    told: list[str] = field(default_factory=list)
    revocations: dict[str, str] = field(default_factory=dict)
    refuses: Exception | None = None
    enabled: bool = True
    pause: Any = None
    """Awaited in every release before it counts: a coroutine function."""

    async def admit(self, request: AdmitRequest) -> None:
        self.told.append(f"admit {request.pod_uid}")
        if self.refuses is not None:
            raise self.refuses

    async def release(self, pod_uid: str) -> None:
        if self.pause is not None:
            await self.pause()
        self.told.append(f"release {pod_uid}")

    def announce(self, pods: Iterable[AdmitRequest]) -> None:
        self.told += [f"announce {pod.pod_uid}" for pod in pods]

    async def close(self) -> None:
        return

    def revoked(self, pod_uid: str) -> str | None:
        return self.revocations.get(pod_uid)


@dataclass
class NotedNetwork(NoNetwork):
    """No network; `fails` is raised to who detaches."""

    detached: list[str] = field(default_factory=list)
    fails: Exception | None = None

    async def detach(self, pod: Any, attachment: Mapping[str, object]) -> None:
        if self.fails is not None:
            raise self.fails
        self.detached.append(pod.sandbox_id)


@dataclass
class OneImage:
    """Images that have `IMAGE` alone; `before_root` is awaited before a container gets its root."""

    mountpoint: Path
    released: list[str] = field(default_factory=list)
    unmounted: list[str] = field(default_factory=list)
    before_root: Any = None
    fails: Exception | None = None

    def get(self, reference: str) -> Image | None:
        return IMAGE if reference in (IMAGE.id, *IMAGE.tags) else None

    async def prepare(self, image_id: str, container_id: str, userns: Path | None = None) -> Path:
        if self.before_root is not None:
            await self.before_root()
        return self.mountpoint / container_id

    async def release(self, container_id: str) -> None:
        if self.fails is not None:
            raise self.fails
        self.released.append(container_id)

    async def unmount_image(self, image_id: str, key: str) -> None:
        self.unmounted.append(image_id)


class StandInRuntime:
    """An OCI runtime that notes its calls, and fails with the text of `complaint` if there is."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "runtime.log"
        self._complaint = directory / "complaint"
        binary = directory / "runtime"
        binary.write_text(
            f'#!/bin/sh\necho "$*" >> {self._log}\n'
            f"[ ! -e {self._complaint} ] || {{ cat {self._complaint} >&2; exit 1; }}\n"
        )
        binary.chmod(0o755)
        self.handler = Handler("runc", str(binary), "runc", directory / "runtime-root")
        self.handler.prepare()

    def complain(self, text: str) -> None:
        self._complaint.write_text(text)

    def has(self, id_: str) -> None:
        """The runtime keeps a state of this container."""
        (self.handler.root / id_).mkdir()

    @property
    def calls(self) -> list[str]:
        """What it was told, without options: `start ID`."""
        if not self._log.exists():
            return []
        lines = self._log.read_text().splitlines()
        return [" ".join(w for w in line.split() if not w.startswith("--")) for line in lines]


@dataclass
class Host:
    """A context, the stand-ins in it, and records to put there."""

    ctx: Context
    admission: ScriptedAdmission
    network: NotedNetwork
    images: OneImage
    runtime: StandInRuntime
    heard: Subscription

    def pod(
        self,
        state: SandboxState = SandboxState.READY,
        uid: str = "",
        attempt: int = 0,
        **fields: Any,
    ) -> Sandbox:
        """A pod's record in this state."""
        number = next(_numbers)
        meta = cri.PodSandboxMetadata(
            name=f"pod-{number}", uid=uid or f"uid-{number}", namespace="n", attempt=attempt
        )
        config = cri.PodSandboxConfig(metadata=meta)
        config.linux.security_context.namespace_options.pid = cri.CONTAINER
        sandbox = Sandbox(
            id=SandboxId(f"{number:064x}"),
            spec=SandboxSpec.from_cri(config, ""),
            state=state,
            created_at=1,
            handler="runc",
            cgroup=f"/berth-pod{number}",
            boot=self.ctx.boot,
            config=config.SerializeToString(),
        )
        sandbox = replace(sandbox, **fields)
        self.ctx.store.add_sandbox(sandbox)
        return sandbox

    def container(
        self, sandbox: Sandbox, state: ContainerState = ContainerState.CREATED, **fields: Any
    ) -> Container:
        """A container's record in this state; no process belongs to it."""
        number = next(_numbers)
        config = container_config(f"c-{number}")
        spec = ContainerSpec.from_cri(config)
        container = Container(
            id=ContainerId(f"{number:064x}"),
            sandbox_id=sandbox.id,
            spec=spec,
            state=state,
            created_at=1,
            image_id=IMAGE.id,
            image_name="busybox:1",
            handler="runc",
            boot=self.ctx.boot,
            config=config.SerializeToString(),
        )
        container = replace(container, **fields)
        self.ctx.store.add_container(container)
        return container

    def now(self, record: Sandbox) -> Sandbox:
        return self.ctx.store.view.sandboxes[record.id]

    def state(self, container: Container) -> ContainerState:
        return self.ctx.store.view.containers[container.id].state

    async def events(self, count: int) -> list[Event]:
        """The next events published."""
        return [await self.heard.next() for _ in range(count)]


def container_config(name: str = "c") -> cri.ContainerConfig:
    config = cri.ContainerConfig(
        metadata=cri.ContainerMetadata(name=name), image=cri.ImageSpec(image="busybox:1")
    )
    config.linux.security_context.namespace_options.pid = cri.CONTAINER
    return config


@asynccontextmanager
async def host(directory: Path) -> AsyncIterator[Host]:
    """A context below `directory`, with nothing in its records."""
    runtime = StandInRuntime(directory)
    admission, network, images = ScriptedAdmission(), NotedNetwork(), OneImage(directory / "lib")
    store = Store(directory / "state.db")
    directories = Directories(directory / "state")
    cgroups = CgroupsV2(str(directory / "cgroup"))
    handlers = Handlers({"runc": runtime.handler}, "runc")
    clock = itertools.count(1000).__next__
    async with Tasks() as tasks:
        watcher = ExitWatcher(tasks)
        events = Events(clock, store)
        exits = Exits(store, watcher, tasks, events, cgroups, handlers, directories)
        ctx = Context(
            store=store,
            directories=directories,
            tasks=tasks,
            images=cast(Images, images),
            network=network,
            handlers=handlers,
            cgroups=cgroups,
            exits=exits,
            stops=Stops(store, exits, cgroups, tasks),
            events=events,
            admission=admission,
            settings=Settings(Driver.CGROUPFS, 5.0, 5.0, "", ()),
            host=FACTS,
            boot="boot",
            clock=clock,
            process_documents=ProcessDocuments(),
            locks=NamedLocks(),
            sandbox_operations=Operations(tasks),
            container_operations=Operations(tasks),
        )
        with events.subscribe() as heard:
            yield Host(ctx, admission, network, images, runtime, heard)
        watcher.close()
    store.close()
