"""Where the files of a pod and of a container are."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Directories:
    """`state` is volatile (gone at reboot)."""

    state: Path

    # Below /run, which a reboot empties: what is there belongs to processes of this boot.
    # Kept short, since sun_path of a unix socket has 108 bytes (unix(7)) and conmon makes one in
    # the bundle, whose name alone has the 64 of an id.

    @property
    def programs(self) -> Path:
        """Where programs run and device nodes work, whatever the state's own mount forbids."""
        return self.state / "programs"

    def sandbox(self, id_: str) -> Path:
        return self.state / "pods" / id_

    def namespaces(self, id_: str) -> Path:
        """Namespaces of the pod, pinned by bind mounts named net, ipc, uts, user."""
        return self.sandbox(id_) / "ns"

    def shm(self, id_: str) -> Path:
        return self.sandbox(id_) / "shm"

    def resolv_conf(self, id_: str) -> Path:
        return self.sandbox(id_) / "resolv.conf"

    def hostname(self, id_: str) -> Path:
        return self.sandbox(id_) / "hostname"

    def bundle(self, id_: str) -> Path:
        """The OCI bundle: config.json, conmon's pid files, fifos, attach socket and exit file."""
        return self.state / "containers" / id_
