"""A runtime handler: an OCI runtime's binary, its state directory and what it can do."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from berth.base.errors import InvalidArgument

Kind = Literal["crun", "runc"]

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",  # conmon converts its arguments from the locale's encoding
    "TMPDIR": "/run",  # conmon binds its console socket here; only root writes there
}
"""The environment of conmon and of the OCI runtime: nothing of the daemon's own.

What stands in the daemon's unit (proxies with passwords, `NOTIFY_SOCKET`) would reach hooks, and a
runtime with NOTIFY_SOCKET would wait for the container to report to systemd.
"""


@dataclass(frozen=True, slots=True)
class Features:
    """What the binary supports, not what the kernel does.

    `recursive_readonly`: mount option `rro`. `user_namespaces`: mounts with id mappings, which
    pods with a user namespace need for their volumes. `checkpoint`: built with CRIU.
    """

    version: str = ""
    recursive_readonly: bool = False
    user_namespaces: bool = False
    seccomp: bool = False
    apparmor: bool = False
    selinux: bool = False
    checkpoint: bool = False


@dataclass(frozen=True, slots=True)
class Handler:
    """One entry of `[runtime] handlers`. `binary` is absolute; `root` holds the runtime's state.

    `systemd_cgroup`: container cgroups are made through systemd, not by writing cgroupfs.
    `null`, `launcher`: see `null_device`.
    """

    name: str
    binary: str
    kind: Kind
    root: Path
    features: Features = Features()
    systemd_cgroup: bool = False
    null: Path | None = None
    launcher: Path | None = None

    @property
    def scratch(self) -> Path:
        """Short-lived files of running calls. Beside `root`, where the runtime would list them."""
        return self.root.with_name(f"{self.root.name}-scratch")

    def argv(self, *arguments: str) -> list[str]:
        """The command line of one call."""
        # Global options stand before the command, in both runtimes.
        systemd = ("--systemd-cgroup",) if self.systemd_cgroup else ()
        return [self.binary, f"--root={self.root}", *systemd, *arguments]

    def prepare(self) -> None:
        """Make the directories; root only."""
        # The state has the environments of all containers in it.
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.scratch.mkdir(exist_ok=True, mode=0o700)


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
