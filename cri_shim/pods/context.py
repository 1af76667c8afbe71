"""What the verbs work with: built once by the daemon, passed to every verb."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from berth.base.errors import InvalidArgument
from berth.base.operations import Operations
from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.cgroups.naming import Driver
from berth.linux.tasks import Tasks
from cri_shim.admission.contract import Admission
from cri_shim.images.service import Images
from cri_shim.model.ids import ContainerId, SandboxId
from cri_shim.network.pod import PodNetwork
from cri_shim.pods.events import Events
from cri_shim.pods.folders import Folders
from cri_shim.pods.host_facts import HostFacts
from cri_shim.runtime.exits import ExitWatcher
from cri_shim.runtime.handler import Handler
from cri_shim.store.store import Store

if TYPE_CHECKING:  # the verbs' own bookkeeping; they import this module
    from cri_shim.pods.container_exec import Documents
    from cri_shim.pods.container_stop import Stops
    from cri_shim.pods.exits import Ends


@dataclass(frozen=True, slots=True)
class Handlers:
    """The OCI runtimes by name; the empty name is the default's."""

    by_name: Mapping[str, Handler]
    default: str

    def get(self, name: str) -> Handler:
        """InvalidArgument names the handlers there are."""
        handler = self.by_name.get(name or self.default)
        if handler is None:
            known = ", ".join(sorted(self.by_name))
            raise InvalidArgument(
                f"runtime_handler {name!r} is not configured on this node (known: {known}): "
                "add [runtime.handlers] to the configuration or correct the RuntimeClass"
            )
        return handler


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration fixes for the verbs."""

    driver: Driver
    create_timeout: float
    """Seconds for the OCI runtime to make a container."""
    mount_timeout: float
    """Seconds for the file system of a mount's source to answer."""
    apparmor_profile: str
    """RuntimeDefault where the host has AppArmor; empty for none."""
    cdi_dirs: tuple[str, ...]
    """Folders of CDI specifications; a later one wins."""


@dataclass(slots=True)
class Context:
    store: Store
    folders: Folders
    tasks: Tasks
    images: Images
    network: PodNetwork
    handlers: Handlers
    cgroups: Cgroups
    exits: ExitWatcher
    events: Events
    admission: Admission
    settings: Settings
    host: HostFacts
    boot: str
    clock: Callable[[], int]
    """Unix nanoseconds."""
    ends: "Ends"
    stops: "Stops"
    documents: "Documents"
    sandbox_operations: Operations[SandboxId]
    container_operations: Operations[ContainerId]
