"""A cri-shim daemon in private directories, driven through its socket, and what it leaves."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from berth.linux import mounts
from berth.pb import runtime_v1_pb2 as cri
from berth.pb import runtime_v1_pb2_grpc as cri_grpc
from berth.pb import shim_v1_pb2 as shim_pb
from berth.pb import shim_v1_pb2_grpc as shim_grpc

BIN = Path(sys.executable).parent
START = 30.0


@dataclass
class Shim:
    """One daemon. `directory` holds its root, state, socket, configuration and log."""

    directory: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[str] = ()
    """Words before the daemon's command line, such as those that enter a mount namespace."""
    program: Sequence[str] = (str(BIN / "cri-shim"),)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def socket(self) -> str:
        return f"{self.directory}/run/cri.sock"

    @property
    def root(self) -> Path:
        return self.directory / "lib"

    @property
    def state(self) -> Path:
        return Path(self.settings.get("state", self.directory / "run" / "cri"))

    @property
    def log(self) -> Path:
        return self.directory / "shim.log"

    def flags(self) -> list[str]:
        """The configuration of this daemon as flags of the command."""
        settings = {
            "root": str(self.root),
            "state": str(self.state),
            "listen": self.socket,
            "network.mode": "none",
            **self.settings,
        }
        config = self.directory / "shim.toml"
        config.touch()
        sets = [word for k, v in settings.items() for word in ("--set", f"{k}={v}")]
        return ["--config", str(config), *sets]

    def command(self) -> list[str]:
        return [*self.prefix, *self.program, "serve", *self.flags()]

    def start(self) -> None:
        """Start it and wait until it serves; what it logged is in the error if it ends."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command(), stderr=log, stdout=log)
        deadline = time.monotonic() + START
        while not self._serves():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"cri-shim did not start:\n{self.log.read_text()}")
            time.sleep(0.01)
        self.channel = grpc.insecure_channel(f"unix:{self.socket}")
        self.runtime = cri_grpc.RuntimeServiceStub(self.channel)
        self.images = cri_grpc.ImageServiceStub(self.channel)
        self.shim = shim_grpc.ShimStub(self.channel)

    def _serves(self) -> bool:
        with grpc.insecure_channel(f"unix:{self.socket}") as channel:
            try:
                cri_grpc.RuntimeServiceStub(channel).Version(cri.VersionRequest(), timeout=1)
            except grpc.RpcError:
                return False
            return True

    def stop(self, sig: int = signal.SIGTERM) -> None:
        """End the daemon; its containers run on."""
        if self.process is not None and self.process.poll() is None:
            self.channel.close()
            self.process.send_signal(sig)
            self.process.wait(timeout=20)

    def restart(self, sig: int = signal.SIGKILL) -> None:
        self.stop(sig)
        self.start()

    def remove_everything(self) -> None:
        """Remove all pods and images through the socket."""
        for pod in self.runtime.ListPodSandbox(cri.ListPodSandboxRequest()).items:
            self.runtime.RemovePodSandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=pod.id))
        for image in self.images.ListImages(cri.ListImagesRequest()).images:
            self.images.RemoveImage(cri.RemoveImageRequest(image=cri.ImageSpec(image=image.id)))

    def load(self, path: Path, name: str = "") -> str:
        """Load an image; its id."""
        *_, last = self.shim.LoadImage(shim_pb.LoadImageRequest(path=str(path), name=name))
        return str(last.images[0].id)

    def mounts(self) -> list[str]:
        """Mount points below its directory."""
        lines = Path("/proc/self/mounts").read_text().splitlines()
        return [
            line.split()[1] for line in lines if line.split()[1].startswith(str(self.directory))
        ]

    def leftovers(self) -> list[str]:
        """What pods left behind: mounts, directories, cgroups, processes of conmon."""
        found = [place for place in self.mounts() if place != str(self.state / "programs")]
        for directory in (
            self.state / "pods",
            self.state / "containers",
            self.root / "containers",
            self.root / "mounts",
            *(self.state / "runtime").glob("*/*"),
        ):
            if directory.is_dir():
                found += [str(p) for p in directory.iterdir()]
        return found + conmons(self.directory)


def conmons(directory: Path) -> list[str]:
    """Command lines of monitors whose bundles lie below a directory."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = entry.read_bytes().split(b"\0")
            if words[0].endswith(b"conmon") and any(str(directory).encode() in w for w in words):
                found.append(os.fsdecode(b" ".join(words)))
    return found


@contextlib.contextmanager
def running(
    directory: Path, settings: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[Shim]:
    """A daemon for a test; at the end nothing of it is left, or the test fails."""
    directory.mkdir(parents=True, exist_ok=True)
    shim = Shim(directory, settings or {}, prefix)
    shim.start()
    try:
        yield shim
        shim.remove_everything()
    finally:
        shim.stop()
        left = [*shim.mounts(), *shim.leftovers()]
        # A failed test must not fail others: pytest stumbles on mounts in old directories.
        for target in reversed(shim.mounts()):
            mounts.unmount(target, lazy=True)
    assert left == [], left
    shutil.rmtree(directory)
