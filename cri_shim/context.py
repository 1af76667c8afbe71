"""What the verbs work with: built once by the daemon, passed to every verb."""

from collections.abc import Callable
from dataclasses import dataclass

from berth.base.locks import NamedLocks
from berth.base.operations import Operations
from berth.linux.cgroups.hierarchy import Cgroups
from berth.linux.cgroups.naming import Driver
from berth.linux.tasks import Tasks
from cri_shim.admission.contract import Admission
from cri_shim.images.service import Images
from cri_shim.model.ids import ContainerId, SandboxId
from cri_shim.network.pod import PodNetwork
from cri_shim.runtime.handler import Handlers
from cri_shim.runtime.host_facts import HostFacts
from cri_shim.runtime.process_documents import ProcessDocuments
from cri_shim.store.directories import Directories
from cri_shim.store.store import Store
from cri_shim.upkeep.events import Events
from cri_shim.upkeep.exits import Exits
from cri_shim.upkeep.stops import Stops


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration fixes for the verbs."""

    driver: Driver
    create_timeout: float
    """Seconds for the OCI runtime to make a container."""
    mount_timeout: float
    """Seconds for the file system of a mount's source to respond."""
    apparmor_profile: str
    """RuntimeDefault where the host has AppArmor; empty for none."""
    cdi_dirs: tuple[str, ...]
    """Directories of CDI specifications; a later one wins."""


@dataclass(slots=True)
class Context:
    store: Store
    directories: Directories
    tasks: Tasks
    images: Images
    network: PodNetwork
    handlers: Handlers
    cgroups: Cgroups
    exits: Exits
    stops: Stops
    events: Events
    admission: Admission
    settings: Settings
    host: HostFacts
    boot: str
    clock: Callable[[], int]
    """Unix nanoseconds."""
    process_documents: ProcessDocuments
    locks: NamedLocks
    """By id of a pod or container: one call at a time makes, changes or takes away what it names.

    A call looks at the record only once it has the lock: who held it may have done the work. Order:
    a pod's lock before those of its containers, and theirs before that of a grant.
    """
    sandbox_operations: Operations[SandboxId]
    container_operations: Operations[ContainerId]
