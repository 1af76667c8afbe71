"""The demo's stage: both daemons and a registry in private directories, timed."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import grpc

from berth.pb import runtime_v1_pb2 as cri
from berth.pb import runtime_v1_pb2_grpc as cri_grpc

T = TypeVar("T")
BIN = Path(sys.executable).parent
TIMEOUT = 30.0

PLAN = """\
apiVersion: berth.dev/v1alpha1
kind: ConsumerPlan
metadata: {name: demo}
spec:
  timeZone: UTC
  groups:
  - name: default
    mode: hybrid
    windows:
    - when: always
      consumers:
      - {name: research, own: {cpu: "3"}, grace: 2s, namespaces: [research]}
      - {name: batch, own: {cpu: "1"}, grace: 2s, namespaces: [batch]}
"""


class Stage:
    """Starts what the demo needs on entry and takes all of it away on exit."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._stack = ExitStack()
        self._times: list[tuple[str, float]] = []
        self.image = ""
        """The reference of the image that was pulled."""

    @property
    def cri_socket(self) -> Path:
        return self.directory / "cri.sock"

    @property
    def node_socket(self) -> Path:
        return self.directory / "node.sock"

    def __enter__(self) -> "Stage":
        with self._stack:
            self.step("check this host", self._check)
            self.step("start nodeagent", self._start_agent)
            self.step("start cri-shim", self._start_shim)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def step(self, title: str, work: Callable[[], T]) -> T:
        """Do one thing, say it, and remember how long it took."""
        print(f"\n\033[1m▸ {title}\033[0m" if sys.stdout.isatty() else f"\n> {title}", flush=True)
        began = time.perf_counter()
        result = work()
        self._times.append((title, time.perf_counter() - began))
        return result

    def summary(self) -> None:
        print("\nDone; nothing is left behind.")
        for title, seconds in self._times:
            print(f"  {seconds * 1e3:8.0f} ms  {title}")

    def shim(self, *words: str) -> None:
        """Run a cri-shim command against the demo's daemon, as a user would."""
        print(f"$ cri-shim {' '.join(words)}", flush=True)
        subprocess.run([BIN / "cri-shim", *words, *self._shim_settings()], check=True)

    def agent(self, *words: str) -> None:
        """Run a nodeagent command against the demo's daemon."""
        print(f"$ nodeagent {' '.join(words)}", flush=True)
        subprocess.run([BIN / "nodeagent", *words, *self._agent_settings()], check=True)

    def _check(self) -> None:
        self.shim("check")

    def _shim_settings(self) -> list[str]:
        settings = {
            "root": f"{self.directory}/lib",
            "state": f"{self.directory}/run",
            "listen": str(self.cri_socket),
            "network.mode": "bridge",
            "admission.socket": str(self.node_socket),
            "admission.mode": "required",
        }
        return self._sets("cri-shim.toml", settings)

    def _agent_settings(self) -> list[str]:
        settings = {
            "socket": str(self.node_socket),
            "state": f"{self.directory}/node",
            "plan": f"{self.directory}/plan.yaml",
            "cri_socket": str(self.cri_socket),
            "capacity.cpu": '"4"',
            "capacity.memory": '"8Gi"',
        }
        return self._sets("nodeagent.toml", settings)

    def _sets(self, name: str, settings: dict[str, str]) -> list[str]:
        """Flags for an own, empty configuration file, so that the host's does not matter."""
        config = self.directory / name
        config.touch()
        sets = [word for k, v in settings.items() for word in ("--set", f"{k}={v}")]
        return ["--config", str(config), *sets]

    def _start_agent(self) -> None:
        (self.directory / "plan.yaml").write_text(PLAN)
        self._start("nodeagent", self._agent_settings())
        self._until(self.node_socket.exists, "nodeagent serves")

    def _start_shim(self) -> None:
        self._start("cri-shim", self._shim_settings())
        channel = self._stack.enter_context(grpc.insecure_channel(f"unix:{self.cri_socket}"))
        self.runtime = cri_grpc.RuntimeServiceStub(channel)
        self._until(self._serves, "cri-shim serves")
        version = self.runtime.Version(cri.VersionRequest())
        print(f"{version.runtime_name} {version.runtime_version} on {self.cri_socket.name}")

    def _serves(self) -> bool:
        try:
            self.runtime.Version(cri.VersionRequest(), wait_for_ready=True, timeout=1)
        except grpc.RpcError:
            return False
        return True

    def _start(self, program: str, settings: list[str]) -> None:
        log = (self.directory / f"{program}.log").open("wb")
        process = subprocess.Popen([BIN / program, "serve", *settings], stderr=log, stdout=log)
        self._stack.callback(_end, process)

    def _until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not condition():
            if time.monotonic() > deadline:
                logs = "".join(path.read_text() for path in self.directory.glob("*.log"))
                raise SystemExit(f"demo: after {TIMEOUT:.0f} s still not: {what}\n{logs}")
            time.sleep(0.02)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    process.wait(timeout=TIMEOUT)
